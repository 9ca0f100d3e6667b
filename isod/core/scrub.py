"""The scrub: what is reset between two owners, how, and what stands in the way.

A device that can be reset by itself is; one that cannot is reset with its whole reset set, if all
of that is the lease's own. Resets hit nobody else: a set that has grown meanwhile is waited for
where the scrub is required, and left alone where it is only tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from isod.model.address import Address
from isod.model.host import VFIO_PCI, HostSnapshot, is_vfio_driver
from isod.model.lease import Lease, LeaseDevice
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.step import Bind, Fence, GroupName, HandOver, HotReset, Reset, Scrub, Step

from .reset_answer import Owner, answer
from .reset_set import ResetSets


def with_scrub(
    snapshot: HostSnapshot,
    devices: Sequence[LeaseDevice],
    hand_over: HandOver,
    scrub: Scrub,
) -> tuple[LeaseDevice, ...]:
    """The devices of a grant, each of those in need of one with the reset set that scrubs it.

    Raises RefusedError (terms) where a scrub is required and one within the client's reach can be
    reset neither by itself nor with a set that lies within the lease.
    """
    needy = [d for d in in_reach(devices, hand_over) if not d.resets_alone]
    if scrub == "off" or not needy:
        return tuple(devices)
    sets = ResetSets(snapshot)
    ours = Owner(
        hand_over,
        frozenset(device.group for device in devices),
        to_bind=frozenset(device.address for device in devices if _bound(device)),
    )
    found: dict[Address, tuple[Address, ...]] = {}
    for device in needy:
        members, obstacle = _set_within(sets, device.address, ours)
        if obstacle is not None and scrub == "require":
            raise _no_scrub(device.address, obstacle)
        found[device.address] = members
    return tuple(replace(d, hot_reset=found.get(d.address, ())) for d in devices)


def with_scrub_of(
    sets: ResetSets, lease: Lease, device: LeaseDevice, hand_over: HandOver
) -> LeaseDevice:
    """A device that joins a lease, with the reset set that scrubs it, if the client will reach it
    (its group was handed over as ``hand_over``) and it needs one. Raises RefusedError (terms) where
    a scrub is required and there is none."""
    scrub = lease.terms.scrub
    if hand_over == "iommufd" or scrub == "off" or device.resets_alone:
        return device
    all_of_it = (*lease.devices, device)
    ours = Owner(
        hand_over,
        frozenset(one.group for one in all_of_it),
        to_bind=frozenset(one.address for one in all_of_it if _bound(one)),
    )
    members, obstacle = _set_within(sets, device.address, ours)
    if obstacle is not None and scrub == "require":
        raise _no_scrub(device.address, obstacle)
    return replace(device, hot_reset=members)


def is_reset_as_a_set(lease: Lease) -> bool:
    """Whether the lease cannot end without a hot reset: all that is in its groups will be hit."""
    return lease.terms.scrub == "require" and any(one.hot_reset for one in lease.devices)


def _no_scrub(address: Address, obstacle: str) -> RefusedError:
    return RefusedError(
        Reason.terms,
        f"{address.short} has no function reset, and scrub is required: {obstacle}",
        hint="the rule requires a scrub: ask for the whole set (isoctl --whole-set), "
        "or have the rule changed",
        term="scrub",
        devices=[str(address)],
    )


def _set_within(
    sets: ResetSets, address: Address, ours: Owner
) -> tuple[tuple[Address, ...], str | None]:
    """The reset set of a device if a hot reset of it is permitted and hits nobody else, or why
    there is none."""
    device = sets.snapshot.devices[address]
    its_set = sets.of(address)
    members = () if its_set is None else its_set.members
    others = [a.short for a in members if sets.snapshot.devices[a].group not in ours.groups]
    if others:
        return (), f"a hot reset would hit {', '.join(others[:3])}, too"
    found = answer(sets, device, ours)
    if found.hot == "never":
        return (), f"no hot reset either, {found.why}"
    return members, None


def steps_before(
    devices: Sequence[LeaseDevice], groups: Sequence[GroupName], hand_over: HandOver
) -> list[Step]:
    """What a required scrub resets before the hand-over; everything is on vfio-pci by then."""
    return [
        *_function_resets(devices, hand_over, required=True),
        *_hot_resets(devices, groups, required=True),
    ]


def steps_after(lease: Lease, devices: Sequence[LeaseDevice]) -> list[Step]:
    """What is reset on the way back, when all is fenced. A hot reset needs its whole set on a vfio
    driver: it is bound once more, and fenced again."""
    if not lease.ever_leased or lease.terms.scrub == "off":
        return []
    required = lease.terms.scrub == "require"
    resets = _function_resets(devices, lease.hand_over, required=required)
    hot = _hot_resets(devices, lease.groups, required=required)
    if not hot:
        return resets
    bound = [device for device in devices if _bound(device)]
    binds = [
        Bind(d.address, d.generation, _vfio_driver(d), sibling=d.why == "sibling") for d in bound
    ]
    return [*resets, *binds, *hot, *(Fence(d.address, d.generation) for d in bound)]


def in_the_way(
    sets: ResetSets, owner_of: Callable[[int], Lease | None], steps: Iterable[Step]
) -> str | None:
    """Why a required hot reset of the way back has to wait: its set has grown by something that
    the lease does not have."""
    for step in steps:
        its_set = sets.of(step.address) if isinstance(step, HotReset) and step.required else None
        if its_set is None or not isinstance(step, HotReset):
            continue
        ours = dict(step.members)
        for address in its_set.members:
            member = sets.snapshot.devices[address]
            if ours.get(address) == member.generation:
                continue
            if member.is_bridge:
                words = "is a bridge"
            elif member.group is not None and owner_of(member.group) is not None:
                words = "is leased"
            elif member.driver is not None:
                words = f"is used by {member.driver}"
            else:
                words = "is not the lease's"
            return f"a reset of {step.address.short} would hit {address.short}, which {words}"
    return None


def unclean(lease: Lease, address: Address, refusal: Refusal) -> tuple[QuarantineEntry, ...]:
    """The devices that isod does not dare to give out after a required reset of ``address`` failed:
    itself, or with a hot reset all of the lease that it was to hit."""
    if lease.terms.scrub != "require" or refusal.reason.retry:
        return ()
    when = "after" if lease.ever_leased else "for"
    why = f"not scrubbed {when} lease {lease.id}: {refusal.message}"
    match refusal.details.get("step"):
        case "reset":
            hit = {address}
        case "hot_reset":
            # The device that stood for its set may have gone since; the others were not reset.
            hit = {a for d in lease.devices if address in d.hot_reset for a in d.hot_reset}
        case _:
            return ()
    return tuple(
        QuarantineEntry.of(device, why) for device in lease.devices if device.address in hit
    )


def unclean_before(lease: Lease, begun: int, refusal: Refusal) -> tuple[QuarantineEntry, ...]:
    """As ``unclean``, of a plan that ended with its step number ``begun``: what cannot be reset is
    not given out. A device that is merely gone was not."""
    step = lease.plan[begun - 1] if 0 < begun <= len(lease.plan) else None
    if not isinstance(step, Reset | HotReset) or refusal.reason is not Reason.kernel:
        return ()
    return unclean(lease, step.address, refusal)


def _function_resets(
    devices: Sequence[LeaseDevice], hand_over: HandOver, *, required: bool
) -> list[Step]:
    return [
        Reset(device.address, device.generation, required=required)
        for device in in_reach(devices, hand_over)
        if device.resets_alone
    ]


def _hot_resets(
    devices: Sequence[LeaseDevice], groups: Sequence[GroupName], *, required: bool
) -> list[Step]:
    """One for each set. All that is the lease's may be hit, so a device that joined it since the
    grant is in nobody's way."""
    members = tuple(
        (d.address, d.generation) for d in sorted(devices, key=_by_address) if _bound(d)
    )
    first: dict[tuple[Address, ...], LeaseDevice] = {}
    for device in sorted(devices, key=_by_address):
        if device.hot_reset:
            first.setdefault(device.hot_reset, device)
    return [
        HotReset(device.address, device.generation, members, tuple(groups), required=required)
        for device in first.values()
    ]


def in_reach(devices: Sequence[LeaseDevice], hand_over: HandOver) -> list[LeaseDevice]:
    """What the client can use. On ``iommufd`` a parked sibling was never handed over; a group's fd
    or node reaches all endpoints of the group."""
    handed = {device.group for device in devices if device.why != "sibling"}
    return [
        device
        for device in devices
        if not device.bridge
        and (device.why != "sibling" or (hand_over != "iommufd" and device.group in handed))
    ]


def _bound(device: LeaseDevice) -> bool:
    """Whether the plan has it on a vfio driver; what sits on pci-stub on purpose stays there."""
    return not device.bridge and (device.touched or _was_on_vfio(device))


def _was_on_vfio(device: LeaseDevice) -> bool:
    return device.former_driver is not None and is_vfio_driver(device.former_driver)


def _vfio_driver(device: LeaseDevice) -> str:
    return device.former_driver or VFIO_PCI if _was_on_vfio(device) else VFIO_PCI


def _by_address(device: LeaseDevice) -> Address:
    return device.address
