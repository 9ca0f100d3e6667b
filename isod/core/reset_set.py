"""Reset sets: which functions one hot reset hits, from what sysfs shows and nothing else.

The kernel's rule (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_for_each_slot_or_bus, the same from
6.1 to 7.2): the function's slot if that can be reset, else its bus; and everything on the buses
below. Neither on a root bus, nor on a bus of virtual functions, which has no bridge of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from isod.model.address import Address
from isod.model.host import Device, HostSnapshot
from isod.model.reset import ResetSet

# The one hotplug driver of common machines that has a ``reset_slot`` (drivers/pci/hotplug; acpiphp
# and shpchp have none). It runs on a port, and its slot is the port's whole bus.
_RESETTING_DRIVER = "pciehp"

# From here on a pciehp slot covers all devices of its bus (PCI_SLOT_ALL_DEVICES in pci_slot.c),
# before only device 0: functions with ARI numbers past 7, virtual ones above all, were in no slot.
# Seen so on 6.12.95 and 7.2. A stable kernel may have it sooner; that cannot be seen in sysfs.
_WHOLE_BUS_SLOTS = (7, 1)


class ResetSets:
    """The reset sets of one snapshot. Building it looks at every device once."""

    def __init__(self, snapshot: HostSnapshot) -> None:
        self.snapshot = snapshot
        self._whole_bus_slots = _release(snapshot.features.kernel) >= _WHOLE_BUS_SLOTS
        self._buses: dict[str, list[Device]] = {}
        self._bridges: dict[str, Device] = {}
        for device in snapshot.devices.values():
            if device.address.bus != "pci":
                continue
            self._buses.setdefault(device.address.pci_bus, []).append(device)
            if device.secondary_bus is not None:
                self._bridges[device.secondary_bus] = device

    def of(self, address: Address) -> ResetSet | None:
        """The set that a hot reset of this device hits; None: there is no hot reset (ENODEV)."""
        device = self.snapshot.devices.get(address)
        if device is None or address.bus != "pci":
            return None
        here = self._buses[address.pci_bus]
        if self._in_resetting_slot(device):
            together = (other for other in here if self._in_resetting_slot(other))
            return ResetSet("slot", _sorted(self._with_all_below(together)))
        if address.pci_bus not in self._bridges:
            return None
        return ResetSet("bus", _sorted(self._with_all_below(here)))

    def device_set(self, device: Device) -> str:
        """A name for the device set that vfio counts a function to (vfio_pci_core.c,
        vfio_pci_core_register_device): itself on a root bus and for virtual functions, else its
        slot if that can be reset, else its bus. A reset wants all functions in one."""
        address = device.address
        if device.is_virtual_function or address.pci_bus not in self._bridges:
            return address.name
        return f"{address.pci_bus} slot" if self._in_resetting_slot(device) else address.pci_bus

    def _in_resetting_slot(self, device: Device) -> bool:
        port = self._bridges.get(device.address.pci_bus)
        if port is None or port.hotplug_driver != _RESETTING_DRIVER:
            return False
        return self._whole_bus_slots or device.address.pci_slot.endswith(":00")

    def _with_all_below(
        self, here: Iterable[Device], above: frozenset[str] = frozenset()
    ) -> Iterator[Address]:
        for device in here:
            yield device.address
            below = device.secondary_bus
            if below is not None and below not in above:
                yield from self._with_all_below(self._buses.get(below, ()), above | {below})


def _sorted(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(set(addresses)))


def _release(text: str) -> tuple[int, int]:
    """The first two numbers of a kernel release; of an unreadable one the newest."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else _WHOLE_BUS_SLOTS
