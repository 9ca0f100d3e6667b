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

# Hotplug drivers with a ``reset_slot`` (drivers/pci/hotplug; acpiphp and shpchp have none).
RESETTING_SLOT_DRIVERS = frozenset({"pciehp", "pnv_php"})

# From here on a pciehp slot covers all devices of its bus (PCI_SLOT_ALL_DEVICES in pci_slot.c),
# before only device 0: functions with ARI numbers past 7 were in no slot.
_WHOLE_BUS_SLOTS = (7, 1)


class ResetSets:
    """The reset sets of one snapshot. Building it looks at every device once."""

    def __init__(self, snapshot: HostSnapshot) -> None:
        self._devices = snapshot.devices
        self._whole_bus_slots = _release(snapshot.features.kernel) >= _WHOLE_BUS_SLOTS
        self._buses: dict[str, list[Device]] = {}
        self._bridged: set[str] = set()
        for device in snapshot.devices.values():
            if device.address.bus != "pci":
                continue
            self._buses.setdefault(device.address.pci_bus, []).append(device)
            if device.secondary_bus is not None:
                self._bridged.add(device.secondary_bus)

    def of(self, address: Address) -> ResetSet | None:
        """The set that a hot reset of this device hits; None: there is no hot reset (ENODEV)."""
        device = self._devices.get(address)
        if device is None or address.bus != "pci":
            return None
        slot = self._resetting_slot(device)
        if slot is not None:
            here = [
                other
                for other in self._buses[address.pci_bus]
                if self._resetting_slot(other) == slot
            ]
            return ResetSet("slot", _sorted(self._with_all_below(here)))
        if address.pci_bus not in self._bridged:
            return None
        return ResetSet("bus", _sorted(self._with_all_below(self._buses[address.pci_bus])))

    def device_set(self, device: Device) -> str:
        """A name for the device set that vfio counts a function to (vfio_pci_core.c,
        vfio_pci_core_register_device): itself on a root bus and for virtual functions, else its
        slot if that can be reset, else its bus. A reset wants all functions in one."""
        address = device.address
        if device.is_virtual_function or address.pci_bus not in self._bridged:
            return address.name
        slot = self._resetting_slot(device)
        return address.pci_bus if slot is None else f"{address.pci_bus} slot {slot}"

    def _resetting_slot(self, device: Device) -> str | None:
        if device.slot is None or device.slot_driver not in RESETTING_SLOT_DRIVERS:
            return None
        if not self._whole_bus_slots and not device.address.name.split(":")[2].startswith("00."):
            return None
        return device.slot

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
