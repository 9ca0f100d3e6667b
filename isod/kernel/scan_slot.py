"""Physical slots: ``/sys/bus/pci/slots/NAME`` with ``address`` and, where a hotplug driver runs the
slot, the link ``module`` (drivers/pci/hotplug/pci_hotplug_core.c, pci_hp_create_module_link)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .tree import Directory, UnreadableError, names_in

# One port, one slot: what is plugged into it is all of the port's bus, whatever device number the
# slot's address names (drivers/pci/hotplug/pciehp_core.c, init_slot).
_WHOLE_BUS = "pciehp"


@dataclass(frozen=True, slots=True)
class Slot:
    """A physical slot: its name, and the hotplug driver that runs it."""

    name: str
    driver: str | None = None


_NO_SLOT = Slot("")


class Slots:
    """The slots of a host, by what is in them."""

    def __init__(self, by_address: Mapping[str, Slot] | None = None) -> None:
        """``by_address``: by ``DDDD:BB:SS``."""
        self._devices = dict(by_address or {})
        self._buses = {
            address.rpartition(":")[0]: slot
            for address, slot in self._devices.items()
            if slot.driver == _WHOLE_BUS
        }

    def of(self, device: str) -> tuple[str | None, str | None]:
        """Name and driver of the slot that a PCI device sits in."""
        place = device.rpartition(".")[0]
        slot = self._devices.get(place) or self._buses.get(place.rpartition(":")[0], _NO_SLOT)
        return slot.name or None, slot.driver


def scan_slots(root: Path) -> Slots:
    """Read all slots. One whose address names a bus alone says of no device that it is in it."""
    found = {}
    place = root / "sys" / "bus" / "pci" / "slots"
    for name in names_in(place):
        try:
            with Directory(place / name) as directory:
                address = directory.text("address")
                driver = directory.link("module") if directory.has("module") else None
        except (FileNotFoundError, UnreadableError):
            continue
        if address is not None and address.count(":") == 2:
            found[address] = Slot(name, driver)
    return Slots(found)
