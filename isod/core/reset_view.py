"""What clients are shown of a reset set: its members, who has them, and what is in the way."""

from __future__ import annotations

from isod.model.host import Device
from isod.model.reset import ResetMember, ResetSetInfo

from .ledger import Ledger
from .reset_answer import Owner, answer, obstacle
from .reset_set import ResetSets
from .view import device_state

SHOWN = 200


def reset_set_info(sets: ResetSets, device: Device, ledger: Ledger) -> ResetSetInfo:
    """Show a device's set as it is now.

    The answer in it is for whoever gets the device's own group on ``iommufd``: members of that
    group which are on no driver are parked by any such grant, so they are in nobody's way.
    """
    snapshot = sets.snapshot
    its_set = sets.of(device.address)
    own_group = () if device.group is None else snapshot.members(device.group)
    parked = frozenset(
        member.address for member in own_group if member.driver is None and not member.is_bridge
    ) | {device.address}
    own = sets.device_set(device)
    addresses = () if its_set is None else its_set.members
    members = [snapshot.devices[address] for address in addresses]
    groups = frozenset() if device.group is None else frozenset({device.group})
    return ResetSetInfo(
        address=device.address,
        by=None if its_set is None else its_set.kind,
        slot=device.slot,
        alone=device.resets_alone,
        members=tuple(
            ResetMember(
                address=member.address,
                group=member.group,
                driver=member.driver,
                state=device_state(member, snapshot, ledger),
                alone=member.resets_alone,
                bridge=member.is_bridge,
                blocks=obstacle(member, own, sets, parked) is not None,
            )
            for member in members[:SHOWN]
        ),
        total=len(members),
        reset=answer(sets, device, Owner("iommufd", groups, to_bind=parked)),
        snapshot=snapshot.sequence,
    )
