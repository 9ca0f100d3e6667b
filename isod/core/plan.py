"""A grant's steps, and the way back from any point of them.

The plan is a pure function of snapshot and decision: what ``explain`` shows is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from isod.model.address import Address
from isod.model.host import VFIO_PCI, Device, Group, HostSnapshot, is_vfio_driver
from isod.model.lease import Lease, LeaseDevice, Owner, Why
from isod.model.reason import Reason, RefusedError
from isod.model.request import Acquire
from isod.model.step import (
    Bind,
    Fence,
    GrantNodes,
    GroupName,
    Limit,
    OpenGroup,
    OpenIommufd,
    Probe,
    Restore,
    RevokeNodes,
    Step,
    Unbind,
)

from .decide import Decision
from .isolation import blocks_ownership, can_be_owned
from .scrub import steps_after, steps_before, with_scrub

_NO_POOLS: Mapping[Address, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in order, and every device that the lease will hold."""

    steps: tuple[Step, ...]
    devices: tuple[LeaseDevice, ...]
    groups: tuple[GroupName, ...]
    warnings: tuple[str, ...] = ()


def plan_grant(
    snapshot: HostSnapshot,
    request: Acquire,
    requested: Sequence[Device],
    groups: Sequence[Group],
    decision: Decision,
    owner: Owner,
    former_limit: tuple[int, int] | None,
    pools: Mapping[Address, str] = _NO_POOLS,
) -> Plan:
    """Plan a grant that the policy allowed. ``pools`` says which devices came out of which pool.

    ``former_limit`` is the owner's RLIMIT_MEMLOCK; None: its process cannot be named safely, so its
    limits are left alone, with a warning. Raises RefusedError for what the snapshot shows to be
    impossible.
    """
    terms, hand_over = decision.terms, decision.hand_over
    names = tuple(GroupName(group.number, group.generation) for group in groups)
    handed: list[GroupName] = []
    why: dict[Address, Why] = {device.address: "reset_set" for device in decision.extras}
    why |= {device.address: "requested" for device in requested}
    rules = {
        device.address: rule.name
        for device, rule in (
            *zip(requested, decision.rules, strict=True),
            *zip(decision.extras, decision.extra_rules, strict=True),
        )
        if rule is not None
    }
    devices: list[LeaseDevice] = []
    looks: list[Step] = []
    binds: list[Step] = []
    for group, name in zip(groups, names, strict=True):
        members = snapshot.members(group.number)
        if not can_be_owned(members):
            continue
        first = next((member for member in members if member.address in why), None)
        if first is not None:
            _check_group(group)
            handed.append(name)
        shown = first or next(member for member in members if not member.is_bridge)
        if any(member.on_vfio for member in members):
            looks.append(Probe(name, hand_over, shown.address, held_only=True))
        # What blocks ownership goes first: a bridge's driver, then the endpoints.
        for member in sorted(members, key=lambda m: not m.is_bridge):
            steps = _steps_for(member, member.address in why)
            binds.extend(steps)
            if steps or not member.is_bridge:
                devices.append(
                    _lease_device(
                        member,
                        group.number,
                        why.get(member.address, "sibling"),
                        rules.get(member.address),
                        pools.get(member.address),
                        touched=bool(steps),
                    )
                )
        # A group that a quirk joined is parked and not claimed: only that nobody has it counts.
        claimed = first is not None
        binds.append(Probe(name, hand_over, shown.address, full=claimed, held_only=not claimed))
    warnings: list[str] = []
    last: list[Step] = []
    scrubbed = with_scrub(snapshot, devices, hand_over, terms.scrub)
    if terms.scrub == "require":
        last.extend(steps_before(scrubbed, names, hand_over))
    if terms.memlock is not None:
        limit = terms.memlock if request.memlock is None else request.memlock
        if former_limit is None:
            warnings.append("memlock not raised: this kernel cannot name the peer's process safely")
        else:
            last.append(Limit(owner.pid, owner.started, limit, limit))
    last.extend(_open_steps(request, hand_over, tuple(handed), requested, devices, owner))
    return Plan((*looks, *binds, *last), scrubbed, names, tuple(warnings))


def _open_steps(
    request: Acquire,
    hand_over: str,
    names: tuple[GroupName, ...],
    requested: Sequence[Device],
    devices: Sequence[LeaseDevice],
    owner: Owner,
) -> list[Step]:
    wanted = tuple(device.address for device in requested)
    wanted += tuple(device.address for device in devices if device.why == "reset_set")
    if hand_over == "iommufd":
        return [OpenIommufd(wanted, iommufd=request.iommufd == "new")]
    if hand_over == "group":
        ready = request.container == "ready"
        return [OpenGroup(names, wanted if ready else (), ready=ready)]
    return [GrantNodes(names, owner.uid)]


def plan_reopen(lease: Lease) -> tuple[Step, ...]:
    """Prove that what was handed over before is closed (a fence per device), bind again, open."""
    endpoints = [d for d in lease.devices if not d.bridge and (d.touched or _was_on_vfio(d))]
    fences: list[Step] = [Fence(device.address, device.generation) for device in endpoints]
    binds: list[Step] = [
        Bind(device.address, device.generation, VFIO_PCI, sibling=device.why == "sibling")
        for device in endpoints
    ]
    opens = [
        _of_what_is_left(lease, step)
        for step in lease.plan
        if isinstance(step, OpenIommufd | OpenGroup | GrantNodes)
    ]
    return (*fences, *binds, *opens)


def _of_what_is_left(
    lease: Lease, step: OpenIommufd | OpenGroup | GrantNodes
) -> OpenIommufd | OpenGroup | GrantNodes:
    """The step for the devices and groups that have not gone away since the grant. One that came
    back at the same address is another, and parked."""
    given = {device.address for device in lease.devices if device.why != "sibling"}
    if isinstance(step, OpenIommufd):
        return replace(step, devices=tuple(one for one in step.devices if one in given))
    groups = tuple(group for group in step.groups if group in lease.groups)
    if isinstance(step, GrantNodes):
        return replace(step, groups=groups)
    return replace(step, groups=groups, devices=tuple(d for d in step.devices if d in given))


def _was_on_vfio(device: LeaseDevice) -> bool:
    return device.former_driver is not None and is_vfio_driver(device.former_driver)


def _check_group(group: Group) -> None:
    if group.firmware_mappings:
        region = group.firmware_mappings[0]
        raise RefusedError(
            Reason.firmware_mapping,
            f"group {group.number}: firmware maps {region.start:#x}-{region.end:#x} 1:1",
            devices=[str(member) for member in group.members],
        )


def _steps_for(member: Device, is_requested: bool) -> list[Step]:
    """What brings one member to where the grant needs it; nothing if it is there."""
    address, generation = member.address, member.generation
    if member.is_bridge:
        if blocks_ownership(member) and member.driver is not None:
            return [Unbind(address, generation, member.driver, override=None)]
        return []
    if member.on_vfio:
        return []
    if member.driver == "pci-stub" and not is_requested:
        return []  # harmless for viability, and put there on purpose
    if address.bus != "pci":
        raise RefusedError(
            Reason.unsupported,
            f"{address.short} is no PCI device and cannot be given to VFIO",
            devices=[str(address)],
        )
    steps: list[Step] = []
    if member.driver is not None:
        steps.append(Unbind(address, generation, member.driver, override=VFIO_PCI))
    steps.append(Bind(address, generation, VFIO_PCI, sibling=not is_requested))
    return steps


def plan_sibling(member: Device, *, to_reset: bool = False) -> tuple[LeaseDevice, tuple[Step, ...]]:
    """How to park a device that was added to a leased group; ``to_reset``: on vfio-pci in any case,
    since a hot reset has to hit it. Raises RefusedError."""
    assert member.group is not None
    steps = tuple(_steps_for(member, is_requested=to_reset))
    if to_reset:
        steps = tuple(replace(s, sibling=True) if isinstance(s, Bind) else s for s in steps)
    leased = _lease_device(member, member.group, "sibling", None, None, touched=bool(steps))
    return replace(leased, added=True), steps


def _lease_device(
    member: Device, group: int, why: Why, rule: str | None, pool: str | None, *, touched: bool
) -> LeaseDevice:
    return LeaseDevice(
        address=member.address,
        generation=member.generation,
        group=group,
        why=why,
        former_driver=member.driver,
        former_override=member.driver_override,
        parked=why == "sibling" and not member.is_bridge,
        touched=touched,
        resets_alone=member.resets_alone,
        bridge=member.is_bridge,
        rule=rule,
        vendor=member.vendor,
        product=member.product,
        pool=pool,
    )


def steps_to_drain(lease: Lease, begun: int, limit: tuple[int, int] | None) -> tuple[Step, ...]:
    """What goes at once when a lease ends: rights on nodes, and the raised limit.

    ``begun`` counts the steps of the plan that were begun; ``limit`` is what the owner's process
    shall have from now on (None: leave it). It is set even if this lease had not come to raise it:
    another one that ended may have left it up for this one's sake.
    """
    steps: list[Step] = []
    if limit is not None:
        steps.append(Limit(lease.owner.pid, lease.owner.started, *limit, raise_only=False))
    for step in reversed(lease.plan[:begun]):
        if isinstance(step, GrantNodes):
            # One by one, so that a node whose rights stay is known by itself.
            steps += [RevokeNodes((group,), step.uid) for group in step.groups]
    return tuple(steps)


def devices_to_return(lease: Lease, begun: int) -> tuple[LeaseDevice, ...]:
    """The devices that the way back concerns, last one first.

    Once the lease was given out that is all of them; before, only what the steps begun touched: a
    device that another program holds must not be fenced.
    """
    if lease.ever_leased:
        return tuple(reversed(lease.devices))
    touched = {step.address for step in lease.plan[:begun] if isinstance(step, Bind | Unbind)}
    return tuple(device for device in reversed(lease.devices) if device.address in touched)


def steps_to_fence(devices: Sequence[LeaseDevice]) -> tuple[Step, ...]:
    """One fence per endpoint: together they prove that nothing of the lease is open."""
    return tuple(Fence(d.address, d.generation) for d in devices if not d.bridge)


def steps_to_give_back(lease: Lease, devices: Sequence[LeaseDevice]) -> tuple[Step, ...]:
    """Scrub what the client may have had, then put every driver back."""
    restores = [_restore(device) for device in devices]
    return (*steps_after(lease, devices), *restores)


def _restore(device: LeaseDevice) -> Restore:
    return Restore(
        device.address,
        device.generation,
        device.former_driver,
        device.former_override,
        own=device.added and device.former_driver is None,
    )
