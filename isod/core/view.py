"""What clients are shown of devices, groups and leases: pure, from snapshot and ledger.

One uid sees the leases of its own; of the others it learns only that they exist.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from isod.model.address import Address
from isod.model.critical import CriticalFacts
from isod.model.host import Device, Features, Group, HostSnapshot
from isod.model.lease import Lease, LeaseDevice, State
from isod.model.peer import Peer
from isod.model.reply import (
    DeviceInfo,
    FileRole,
    GroupInfo,
    Holder,
    JoinedGroups,
    LeasedDevice,
    LeaseInfo,
    LeaseOwner,
    QuarantinedDevice,
    Quarantines,
    RevocationInfo,
    RevokeResult,
)
from isod.model.step import HandOver, OpenFile

from .isolation import Isolation, blocks_ownership
from .ledger import Ledger
from .reset_set import ResetSets

NOTHING_NEEDED = CriticalFacts()


def may_see(peer: Peer, uid: int) -> bool:
    """Whether a peer may see the leases of a uid: its own, and an administrator everybody's."""
    return peer.admin or peer.uid == uid


def hand_overs(features: Features) -> tuple[HandOver, ...]:
    """The hand-overs that can work on this kernel, the safest first.

    Where IOMMUFD provides ``/dev/vfio/vfio``, group exclusivity is broken and ``container`` is
    False: no group hand-outs there, by fd or by path.
    """
    found: list[HandOver] = []
    if features.iommufd and features.cdev:
        found.append("iommufd")
    if features.container:
        found += ["group", "nodes"]
    return tuple(found)


def reset_word(device: Device, sets: ResetSets) -> Literal["function", "hot only", "none"]:
    """How a device can be reset. Its ``reset_method`` says of function resets only: "bus" in it
    was true when the kernel found the device, before others came to the same bus."""
    if device.resets_alone:
        return "function"
    return "none" if sets.of(device.address) is None else "hot only"


def holder(lease: Lease | None, peer: Peer) -> Holder | None:
    if lease is None:
        return None
    if not may_see(peer, lease.owner.uid):
        return Holder(yours=False)
    return Holder(
        yours=lease.owner.uid == peer.uid,
        lease=lease.id,
        user=lease.owner.name,
        uid=lease.owner.uid,
        since=lease.granted_at,
    )


def device_info(
    device: Device,
    ledger: Ledger,
    peer: Peer,
    sets: ResetSets,
    needs: CriticalFacts = NOTHING_NEEDED,
    held: Collection[Address] = (),
) -> DeviceInfo:
    """``held``: free devices that are seen open outside isod."""
    lease = None if device.group is None else ledger.owner_of(device.group)
    return DeviceInfo(
        address=device.address,
        generation=device.generation,
        vendor=device.vendor,
        product=device.product,
        device_class=device.device_class,
        driver=device.driver,
        driver_override=device.driver_override,
        group=device.group,
        numa_node=device.numa_node,
        reset=reset_word(device, sets),
        reset_methods=device.reset_methods,
        bridges=device.bridges,
        bridge=device.is_bridge,
        slot=device.slot,
        physical_function=device.physical_function,
        virtual_functions=device.virtual_functions,
        cdev=device.cdev,
        state=device_state(device, sets.snapshot, ledger),
        holder=holder(lease, peer),
        quarantine=ledger.distrusts(device.address),
        waiting=None if lease is None or lease.state is not State.scrubbing else lease.waiting,
        needed=tuple(dict.fromkeys(use.kind for use in needs.uses.get(device.address, ()))),
        ahead=device.on_vfio and device.address in ledger.shelf.rows,
        ahead_problem=ledger.shelf.problem(device),
        held_outside=_held_outside(device, lease, held),
    )


def _held_outside(device: Device, lease: Lease | None, held: Collection[Address]) -> str | None:
    if lease is None:
        return "another program" if device.address in held else None
    name = (device.address, device.generation)
    found = (one.held_outside for one in lease.devices if (one.address, one.generation) == name)
    return next(found, None)


def device_state(device: Device, snapshot: HostSnapshot, ledger: Ledger) -> str:
    """The word for where a device stands, as DeviceInfo has it."""
    lease = None if device.group is None else ledger.owner_of(device.group)
    if lease is not None:
        return _state_within(device, lease)
    group = snapshot.group_of(device.address)
    if ledger.distrusts(device.address) is not None or _quarantined(group, ledger):
        return "quarantined"
    if device.group is None:
        return "no IOMMU"
    return "host" if blocks_ownership(device) else "free"


def _quarantined(group: Group | None, ledger: Ledger) -> tuple[Address, ...]:
    members = () if group is None else group.members
    return tuple(address for address in members if ledger.distrusts(address) is not None)


def _state_within(device: Device, lease: Lease) -> str:
    for member in lease.devices:
        if member.address == device.address:
            return "parked" if member.parked and lease.state is State.leased else _public(lease)
    return _public(lease)


def _public(lease: Lease) -> str:
    return lease.state.public


def group_info(
    group: Group,
    isolation: Isolation,
    ledger: Ledger,
    peer: Peer,
    needs: CriticalFacts = NOTHING_NEEDED,
) -> GroupInfo:
    snapshot, together = isolation.snapshot, isolation.numbers(group.number)
    lease = ledger.owner_of(group.number)
    members = snapshot.members(group.number)
    blocking = tuple(m.address for m in members if lease is None and blocks_ownership(m))
    quarantined = tuple(
        address for number in together for address in _quarantined(snapshot.groups[number], ledger)
    )
    if lease is not None:
        state = _public(lease)
    elif quarantined:
        state = "quarantined"
    else:
        state = "host" if blocking else "free"
    return GroupInfo(
        number=group.number,
        generation=group.generation,
        kind=group.kind,
        devices=group.members,
        state=state,
        holder=holder(lease, peer),
        blocked_by=blocking,
        quarantined=quarantined,
        needed=tuple(address for address in group.members if address in needs.uses),
        firmware_mapping=bool(group.firmware_mappings),
        isolation=JoinedGroups(groups=together, quirks=isolation.quirks(group.number))
        if len(together) > 1
        else None,
    )


def quarantines(ledger: Ledger, snapshot: HostSnapshot) -> Quarantines:
    """All devices in quarantine, and what is at their addresses now."""
    found = sorted(ledger.quarantined.items())
    return Quarantines(
        devices=tuple(
            QuarantinedDevice(
                address=address,
                vendor=entry.vendor,
                product=entry.product,
                why=entry.why,
                there=entry.compared_with(snapshot.devices.get(address)),
            )
            for address, entry in found
        ),
        unknown=ledger.unknown,
    )


def lease_info(lease: Lease, secret: str | None = None) -> LeaseInfo:
    return LeaseInfo(
        id=lease.id,
        state=lease.state.public,
        rule=lease.rule,
        hand_over=lease.hand_over,
        devices=tuple(leased_device(device) for device in lease.devices),
        owner=LeaseOwner(
            uid=lease.owner.uid,
            pid=lease.owner.pid,
            user=lease.owner.name,
            unit=lease.owner.unit,
        ),
        granted_at=lease.granted_at,
        key=lease.key,
        secret=secret,
        open=lease.open,
        ending=lease.ending,
        waiting=lease.waiting if lease.state is State.scrubbing else None,
        anchor=lease.anchor,
        revocation=_revocation(lease),
        conflict=lease.conflict,
        leaving=lease.leaving,
    )


def _revocation(lease: Lease) -> RevocationInfo | None:
    given = lease.revocation
    if given is None:
        return None
    return RevocationInfo(
        deadline=given.deadline,
        then=lease.terms.revoke.then,
        why=given.why,
        overdue=given.overdue,
        peer=given.peer,
    )


def revoked(lease: Lease) -> RevokeResult:
    """What was done about a lease that somebody wants back. While its owner is asked it may hold
    everything; later it is what the probes have seen."""
    asked = lease.state.public == "leased"
    return RevokeResult(
        lease=lease_info(lease),
        asked=asked,
        held=lease.requested if asked else lease.open,
    )


def leased_device(device: LeaseDevice) -> LeasedDevice:
    return LeasedDevice(
        address=device.address,
        generation=device.generation,
        group=device.group,
        why=device.why,
        parked=device.parked,
        cdev=device.cdev,
        pool=device.pool,
        held_outside=device.held_outside,
    )


def file_roles(files: Sequence[OpenFile]) -> tuple[FileRole, ...]:
    """What the packet's fds are, in order."""
    return tuple(
        FileRole(role=file.role, address=file.address, group=file.group, state=file.state)
        for file in files
    )
