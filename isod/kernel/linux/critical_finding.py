"""Where findings about what the host needs are gathered, and from which path which device follows.

Symbolic links of ``/sys/class`` lead into ``/sys/devices``, where the names of the PCI devices
above a device are parts of its path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from isod.kernel.tree import PCI_NAME
from isod.model.address import Address
from isod.model.critical import CriticalUse, Kind
from isod.model.host import Device, is_vfio_driver

# A driver that does nothing for the host: it holds the place, or gives it to a program.
PLACEHOLDERS = frozenset({"pci-stub", "uio_pci_generic", "igb_uio"})


def real_path(path: Path) -> str | None:
    """Where a link leads in the end; None when it is not there. Raises OSError."""
    try:
        return os.path.realpath(path, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None


def entries(path: Path) -> list[str]:
    """What a folder holds, sorted; nothing when it is not there. Raises OSError."""
    try:
        with os.scandir(path) as found:
            return sorted(entry.name for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def pci_above(path: str) -> str | None:
    """The nearest PCI device on a path below ``/sys/devices``: the one that the driver of which
    makes what is at the path."""
    return next((part for part in reversed(path.split("/")) if PCI_NAME.fullmatch(part)), None)


def bound_to_host(root: Path, name: str) -> str | None:
    """The kernel driver that has a PCI device now; None where it has none, or one of vfio's or a
    placeholder. Raises OSError."""
    try:
        driver = (root / "sys/bus/pci/devices" / name / "driver").readlink().name
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if driver in PLACEHOLDERS or is_vfio_driver(driver) else driver


class Findings:
    """Uses by device, each once, in the order in which they were found.

    ``devices`` are the host's as of a snapshot: their classes tell whom to suspect when something
    cannot be looked up.
    """

    def __init__(self, root: Path, devices: Iterable[Device]) -> None:
        self.root = root
        self._of_class: dict[str, list[Device]] = {}
        for device in devices:
            if device.address.bus == "pci":
                self._of_class.setdefault(device.device_class[:2], []).append(device)
        self._uses: dict[Address, dict[CriticalUse, None]] = {}

    def of_class(self, *beginnings: str) -> Iterable[Device]:
        """The PCI devices whose class code begins so."""
        for beginning in beginnings:
            for device in self._of_class.get(beginning[:2], ()):
                if device.device_class.startswith(beginning):
                    yield device

    def add(self, name: str, kind: Kind, words: str) -> None:
        """Note a use of the PCI device of that name."""
        self._uses.setdefault(Address.pci(name), {})[CriticalUse(kind, words)] = None

    def suspect(self, words: str, *classes: str) -> None:
        """Something could not be looked up: whatever of these classes has a driver may be it."""
        for device in self.of_class(*classes):
            try:
                innocent = bound_to_host(self.root, device.address.name) is None
            except OSError:
                innocent = False
            if not innocent:
                self.add(device.address.name, "unknown", words)

    def done(self) -> Mapping[Address, tuple[CriticalUse, ...]]:
        return MappingProxyType({address: tuple(uses) for address, uses in self._uses.items()})
