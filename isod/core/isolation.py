"""Which devices always go together.

An isolation group is isod's unit of ownership: today one IOMMU group. Policy quirks that join
several are to be applied here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot

# Drivers that leave DMA alone (``driver_managed_dma``, 5.19 on): a member bound to one of them
# does not keep its group from being owned. vfio drivers are told by Device.on_vfio.
HARMLESS_DRIVERS = frozenset({"pci-stub", "pcieport"})


def groups_of(snapshot: HostSnapshot, addresses: Iterable[Address]) -> tuple[Group, ...]:
    """The groups that these devices belong to, each once, in the order of their numbers.

    Addresses without a device or without a group are left to the caller, who has refused them.
    """
    found = {group.number: group for a in addresses if (group := snapshot.group_of(a)) is not None}
    return tuple(found[number] for number in sorted(found))


def blocks_ownership(device: Device) -> bool:
    """Whether the device's driver keeps its group from being owned by a user (EPERM)."""
    return (
        device.driver is not None and not device.on_vfio and device.driver not in HARMLESS_DRIVERS
    )
