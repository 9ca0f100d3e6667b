"""isod's answer: may the owner of a device hot-reset it?

A lease's client binds and opens as it likes and isod does not see it. So the answer is a condition
on what cannot be seen; evaluated with the client's true state it equals the kernel's verdict
(``reset_table``). Only what sysfs shows makes it *never*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from isod.model.address import Address
from isod.model.host import Device
from isod.model.lease import Lease, LeaseDevice
from isod.model.reset import HotReset, LeaseReset, MemberState, ResetAnswer, ResetSet, SetAnswer
from isod.model.step import HandOver, OpenGroup, Step

from .reset_set import ResetSets

_SHOWN = 3
_ORDER: tuple[HotReset, ...] = ("permitted_now", "permitted_when", "never")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who asks: what was handed over, and how. ``opened``: the client gets its devices open, so
    that for a hot reset only the groups' fds are to be passed. ``to_bind`` are devices that a plan
    will have put on a vfio driver by the time of the hand-over."""

    hand_over: HandOver
    groups: frozenset[int]
    opened: bool = False
    to_bind: frozenset[Address] = frozenset()


def lease_reset(sets: ResetSets, lease: Lease) -> LeaseReset:
    """The answer for a lease, as its replies state it."""
    return granted_reset(sets, lease.devices, lease.hand_over, lease.plan)


def granted_reset(
    sets: ResetSets,
    devices: Sequence[LeaseDevice],
    hand_over: HandOver,
    plan: Sequence[Step],
    *,
    to_come: bool = False,
) -> LeaseReset:
    """The answer for what a plan hands over; with ``to_come`` it has not been run yet."""
    endpoints = [device for device in devices if not device.bridge]
    owner = Owner(
        hand_over,
        frozenset(device.group for device in devices),
        opened=any(isinstance(step, OpenGroup) and step.ready for step in plan),
        to_bind=frozenset(device.address for device in endpoints if to_come),
    )
    return answer_all(sets, [one.address for one in endpoints if one.why != "sibling"], owner)


def answer_all(sets: ResetSets, wanted: Sequence[Address], owner: Owner) -> LeaseReset:
    """Answer for several devices: set by set, and on top the worst of it."""
    found: dict[tuple[str, ResetSet | None], list[Device]] = {}
    for address in wanted:
        device = sets.snapshot.devices.get(address)
        if device is not None:
            found.setdefault((sets.device_set(device), sets.of(address)), []).append(device)
    answers = tuple(
        SetAnswer(
            **dict(answer(sets, devices[0], owner)),
            devices=tuple(device.address for device in devices),
            by=None if its_set is None else its_set.kind,
            hits=() if its_set is None else its_set.members,
        )
        for (_, its_set), devices in found.items()
    )
    kinds: list[HotReset] = [one.hot for one in answers] or ["never"]
    hot = max(kinds, key=_ORDER.index)
    of_that_kind = [one for one in answers if one.hot == hot]
    return LeaseReset(
        hot=hot,
        when=_joined(one.when for one in answers) if hot != "never" else None,
        why=_joined(one.why for one in of_that_kind),
        bind_groups=_merged(one.bind_groups for one in answers) if hot != "never" else (),
        pass_groups=_merged(one.pass_groups for one in answers) if hot != "never" else (),
        blocked_by=tuple(sorted({a for one in answers for a in one.blocked_by})),
        sets=answers,
    )


def answer(sets: ResetSets, device: Device, owner: Owner) -> ResetAnswer:
    """Answer for one device that its owner has open (on a cdev: bound)."""
    its_set = sets.of(device.address)
    if its_set is None:
        return ResetAnswer(hot="never", why="neither its slot nor its bus can be reset")
    own = sets.device_set(device)
    members = [sets.snapshot.devices[address] for address in its_set.members]
    obstacles = [
        (member, state)
        for member in members
        if (state := obstacle(member, own, sets, owner.to_bind | {device.address})) is not None
    ]
    if obstacles:
        return ResetAnswer(
            hot="never",
            why=_why(obstacles, device),
            blocked_by=tuple(member.address for member, _ in obstacles),
        )
    needed = tuple(sorted({member.group for member in members if member.group is not None}))
    foreign = tuple(member.address for member in members if member.group not in owner.groups)
    return _condition(owner, needed, foreign)


def obstacle(
    member: Device, own_set: str, sets: ResetSets, to_bind: Collection[Address] = ()
) -> MemberState | None:
    """What forbids the reset for certain, as far as sysfs shows; None: it is on a vfio driver."""
    if member.is_bridge:
        return MemberState.bridge
    if not member.on_vfio and member.address not in to_bind:
        if member.driver is None:
            return MemberState.unbound
        return MemberState.stub if member.driver == "pci-stub" else MemberState.kernel_driver
    if member.group is None or sets.device_set(member) != own_set:
        return MemberState.other_set
    return None


def _condition(owner: Owner, needed: tuple[int, ...], foreign: tuple[Address, ...]) -> ResetAnswer:
    lacking = [group for group in needed if group not in owner.groups]
    beyond = f"; {_groups(lacking)} {_is(lacking)} not part of this lease" if lacking else ""
    if owner.hand_over == "iommufd":
        which = _groups(needed) if len(needed) == 1 else f"each of the {_groups(needed)}"
        return ResetAnswer(
            hot="permitted_when",
            when=f"one device of {which} is bound to the lease's iommufd{beyond}",
            bind_groups=needed,
            blocked_by=foreign,
        )
    fds = f"the fd{'s' * (len(needed) > 1)} of {_groups(needed)} {_is(needed)} passed"
    return ResetAnswer(
        hot="permitted_now" if owner.opened and not lacking else "permitted_when",
        when=fds + beyond,
        pass_groups=needed,
        blocked_by=foreign,
    )


def _why(obstacles: Sequence[tuple[Device, MemberState]], asked: Device) -> str:
    if asked.is_virtual_function:
        return f"{asked.address.short} is a virtual function"
    words = [_obstacle_words(member, state) for member, state in obstacles[:_SHOWN]]
    rest = len(obstacles) - len(words)
    return "; ".join(words) + (f"; and {rest} more" if rest else "")


def _obstacle_words(member: Device, state: MemberState) -> str:
    name = member.address.short
    match state:
        case MemberState.bridge:
            return f"the bridge {name} is in its set"
        case MemberState.unbound:
            return f"{name} is on no driver"
        case MemberState.kernel_driver | MemberState.stub:
            return f"{name} is used by {member.driver}"
        case _ if member.is_virtual_function:
            return f"{name} is a virtual function"
        case _ if member.group is None:
            return f"{name} has no IOMMU group"
        case _:
            return f"{name} is not reset together with it"


def _groups(numbers: Sequence[int]) -> str:
    *most, last = [str(number) for number in numbers]
    return f"groups {', '.join(most)} and {last}" if most else f"group {last}"


def _is(numbers: Sequence[int]) -> str:
    return "are" if len(numbers) > 1 else "is"


def _joined(texts: Iterable[str | None]) -> str | None:
    found = list(dict.fromkeys(text for text in texts if text is not None))
    return "; ".join(found) or None


def _merged(lists: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted({number for numbers in lists for number in numbers}))
