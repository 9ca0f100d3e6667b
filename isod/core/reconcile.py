"""What the host's picture says that the ledger does not know yet.

Compared as a whole, not change by change: whatever was missed, or came while a lease was in the
middle of something, is found the next time. Asked twice about the same picture, and told the
ledger in between, it has nothing more to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isod.model.event import (
    Conflict,
    DeviceGone,
    Event,
    HeldOutside,
    Settled,
)
from isod.model.host import Device, Group, HostSnapshot
from isod.model.lease import NO_DRIVER, Lease, LeaseDevice, State
from isod.model.step import GroupName

from .isolation import Isolation
from .ledger import Ledger


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A device that came into the isolation group of a lease; whether it may be parked is to be
    judged. ``group`` is its group, if that is nobody's yet."""

    lease: Lease
    device: Device
    group: GroupName | None = None


def news(isolation: Isolation, ledger: Ledger) -> tuple[Event, ...]:
    """Events about leases, from what the host and the policy's quirks are now. To be asked until
    there are none: who shares a group with whom is said once all know what is gone."""
    found = [event for lease in ledger.leases.values() for event in _of_devices(isolation, lease)]
    return tuple(found or _of_owners(isolation, ledger))


def newcomers(
    isolation: Isolation, ledger: Ledger, *, strangers: bool = False
) -> tuple[Newcomer, ...]:
    """Endpoints that the isolation groups of leases have and their leases do not know of. Asked
    once no operation is under way: before, it is not clear who has what. With ``strangers`` also
    those that were judged before and must not be parked: that may have changed."""
    found: list[Newcomer] = []
    for lease in ledger.leases.values():
        if lease.state is not State.leased:
            continue
        known = {(d.address, d.generation) for d in lease.devices}
        known |= set() if strangers else set(lease.strangers)
        own = _own_groups(isolation.snapshot, lease)
        for group in (*own, *_nobodys(isolation, ledger, lease, own)):
            name = None if group in own else GroupName(group.number, group.generation)
            found += [
                Newcomer(lease, member, name)
                for member in isolation.snapshot.members(group.number)
                if (member.address, member.generation) not in known
                and not member.is_bridge
                and not member.unsettled
            ]
    return tuple(found)


def _own_groups(snapshot: HostSnapshot, lease: Lease) -> list[Group]:
    """The groups of a lease that are there still."""
    found = ((snapshot.groups.get(name.number), name.generation) for name in lease.groups)
    return [group for group, generation in found if group and group.generation == generation]


def _nobodys(
    isolation: Isolation, ledger: Ledger, lease: Lease, own: Sequence[Group]
) -> Iterator[Group]:
    """Groups that have become part of the isolation group of this lease, and of no other: one was
    added where a quirk joins all, or another policy joins more. Nobody else can get them."""
    numbers = {number for group in own for number in isolation.numbers(group.number)}
    for number in sorted(numbers):
        owners = {owner.id for n in isolation.numbers(number) if (owner := ledger.owner_of(n))}
        if owners == {lease.id} and ledger.owner_of(number) is None:
            yield isolation.snapshot.groups[number]


def _of_devices(isolation: Isolation, lease: Lease) -> Iterator[Event]:
    snapshot = isolation.snapshot
    near = {n for name in lease.groups for n in isolation.numbers(name.number)}
    for address, generation in lease.strangers:
        now = snapshot.devices.get(address)
        if now is None or now.generation != generation or now.group not in near:
            yield DeviceGone(lease.id, address, generation)
    generations = {name.number: name.generation for name in lease.groups}
    gone = [device for device in lease.devices if not _is_there(snapshot, device)]
    for device in gone:
        group = snapshot.groups.get(device.group)
        same = group is not None and group.generation == generations.get(device.group)
        yield DeviceGone(lease.id, device.address, device.generation, group_gone=not same)
    if gone or lease.state is not State.leased:
        return
    for device in lease.devices:
        by = _held_by(device, snapshot.devices[device.address])
        if by != device.held_outside:
            yield HeldOutside(lease.id, device.address, by)


def _is_there(snapshot: HostSnapshot, device: LeaseDevice) -> bool:
    now = snapshot.devices.get(device.address)
    return now is not None and now.generation == device.generation


def _held_by(device: LeaseDevice, now: Device) -> str | None:
    """What others have made of a device that isod left on vfio. An unbind, and a removal, take the
    ``driver`` link away before they wait for the client (drivers/base/dd.c)."""
    left_alone = not device.touched and now.driver == device.former_driver
    if device.bridge or now.on_vfio or left_alone:
        return None
    if device.fenced and now.driver is None:
        return None
    return now.driver if now.driver is not None else NO_DRIVER


def _of_owners(isolation: Isolation, ledger: Ledger) -> Iterator[Event]:
    """A lease may meet one lease in one isolation group and another one in another: whoever hangs
    together in this way is in one conflict."""
    conflicts: list[tuple[set[str], list[str]]] = []
    for numbers in isolation.joined():
        owners = {owner.id for n in numbers if (owner := ledger.owner_of(n)) is not None}
        if len(owners) < 2:
            continue
        quirks = ", ".join(isolation.quirks(numbers[0]))
        whys = [f"groups {_listed(numbers)} are not isolated from each other (quirk {quirks})"]
        for other in [one for one in conflicts if not one[0].isdisjoint(owners)]:
            conflicts.remove(other)
            owners |= other[0]
            whys = other[1] + whys
        conflicts.append((owners, whys))
    involved: set[str] = set()
    for owners, whys in conflicts:
        involved |= owners
        why = "; ".join(whys)
        leases = tuple(name for name in ledger.leases if name in owners)
        if any(ledger.leases[name].conflict != why for name in leases):
            yield Conflict(leases, why)
    for lease in ledger.leases.values():
        over = lease.conflict is not None and lease.id not in involved
        if over and lease.state is State.leased:
            yield Settled(lease.id)


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}"
