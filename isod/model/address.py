"""Names of devices: ``pci:0000:01:00.0``, ``mdev:UUID``, ``vdpa:NAME``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_VDPA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class BadAddressError(ValueError):
    """The text is no device address."""


@dataclass(frozen=True, order=True)
class Address:
    """A device's name on its bus. It names a place; which device sits there its generation says.

    Clients name addresses and never paths, so the accepted alphabet is closed: nothing that
    parses here can climb out of a sysfs directory.
    """

    bus: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``BUS:NAME``; the bus may be left out for PCI, and so may domain 0000.

        Raises BadAddressError.
        """
        bus, separator, name = text.partition(":")
        if separator and bus == "mdev" and _UUID.fullmatch(name):
            return cls("mdev", name.lower())
        if separator and bus == "vdpa" and _VDPA.fullmatch(name):
            return cls("vdpa", name)
        match = _PCI.fullmatch(name if bus == "pci" else text)
        if match is None:
            raise BadAddressError(f"not a device address: {text[:80]!r}")
        domain, bus_number, slot, function = match.groups()
        number = int(domain or "0", 16)  # the kernel writes no more zeros than for four digits
        return cls("pci", f"{number:04x}:{bus_number}:{slot}.{function}".lower())

    @classmethod
    def pci(cls, name: str) -> Address:
        """Name a PCI device by the name of its sysfs directory, which the kernel wrote."""
        return cls("pci", name)

    @cached_property
    def short(self) -> str:
        """For people: ``01:00.0``, without the bus and without PCI domain 0000."""
        return self.name.removeprefix("0000:") if self.bus == "pci" else str(self)

    @cached_property
    def pci_bus(self) -> str:
        """``DDDD:BB`` of a PCI address."""
        return self.name.rpartition(":")[0]

    @cached_property
    def pci_slot(self) -> str:
        """``DDDD:BB:SS``: all functions of one PCI device share it."""
        return self.name.rpartition(".")[0]

    def __str__(self) -> str:
        return f"{self.bus}:{self.name}"
