"""A whole host: from the sysfs below a root directory to one HostSnapshot.

``root`` is ``/`` on a real machine; a simulated or captured host is a directory with the same
``sys`` in it. What is gone half-way through is left out; so is what cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from isod.model.address import Address, BadAddressError
from isod.model.host import Device, Features, Group, HostSnapshot

from .overrides import OverrideReader, plain_reader
from .scan_device import NOIOMMU_GROUP, Surroundings, read_other_device, read_pci_device
from .scan_group import groups_directory, scan_group, scan_groups
from .scan_numa import scan_distances
from .tree import PCI_NAME, Directory, UnreadableError, names_in

__all__ = ["pci_directory", "scan_device", "scan_group", "scan_host"]


def pci_directory(root: Path) -> Path:
    """Where the PCI devices are, one link each."""
    return root / "sys" / "bus" / "pci" / "devices"


def scan_host(
    root: Path,
    sequence: int,
    features: Features,
    overrides: OverrideReader | None = None,
) -> HostSnapshot:
    """Read every PCI device, every mdev, every IOMMU group with its members on other buses, and the
    distances of the NUMA nodes."""
    groups = scan_groups(root)
    around = Surroundings(_slots(root), _hotplug_ports(root), _noiommu_groups(groups.values()))
    names = [name for name in names_in(pci_directory(root)) if PCI_NAME.fullmatch(name)]
    found = _scan_pci(root, names, around, overrides or plain_reader(root))
    devices = {device.address: device for device in found}
    for group in groups.values():
        for address in group.members:
            if address.bus != "pci":
                other = _scan_other(root, address, group.number)
                if other is not None:
                    devices[address] = other
    for address in _mediated(root):
        other = None if address in devices else _scan_other(root, address, None)
        if other is not None:
            devices[address] = other
    return HostSnapshot(
        sequence,
        MappingProxyType(devices),
        MappingProxyType(groups),
        features,
        scan_distances(root),
    )


def scan_device(
    root: Path, address: Address, overrides: OverrideReader | None = None
) -> Device | None:
    """Read one device anew; None when it is gone or cannot be read."""
    if address.bus != "pci":
        return _scan_other(root, address, None)
    path = pci_directory(root) / address.name
    try:
        with Directory(path) as directory:
            link = directory.link("iommu_group")
    except (FileNotFoundError, UnreadableError):
        return None
    group = scan_group(root, int(link)) if link is not None and link.isdecimal() else None
    around = Surroundings(
        _slots(root), _hotplug_ports(root), _noiommu_groups([] if group is None else [group])
    )
    found = _scan_pci(root, [address.name], around, overrides or plain_reader(root))
    return found[0] if found else None


def _scan_pci(
    root: Path, names: Iterable[str], around: Surroundings, overrides: OverrideReader
) -> list[Device]:
    read = overrides(names)
    place = str(pci_directory(root))
    found = []
    for name in names:
        override = read.get(name)
        if override is None:
            continue
        try:
            with Directory(f"{place}/{name}") as directory:
                found.append(read_pci_device(directory, around, override))
        except (FileNotFoundError, UnreadableError):
            continue
    return found


def _scan_other(root: Path, address: Address, group: int | None) -> Device | None:
    """A device of another bus, by its bus, or by its group where the bus is not known."""
    places = [root / "sys" / "bus" / address.bus / "devices" / address.name]
    if group is not None:
        places.append(groups_directory(root) / str(group) / "devices" / address.name)
    for place in places:
        try:
            with Directory(place) as directory:
                return read_other_device(directory, address.bus)
        except (FileNotFoundError, UnreadableError):
            continue
    return None


def _mediated(root: Path) -> Iterator[Address]:
    """The mdevs; one whose driver does not give it a group is in no group's list of members."""
    for name in names_in(root / "sys" / "bus" / "mdev" / "devices"):
        with suppress(BadAddressError):
            yield Address.parse(f"mdev:{name}")


def _noiommu_groups(groups: Iterable[Group]) -> frozenset[int]:
    return frozenset(group.number for group in groups if group.name == NOIOMMU_GROUP)


def _slots(root: Path) -> dict[str, str]:
    """Names of physical slots by ``DDDD:BB:SS`` (``/sys/bus/pci/slots/NAME/address``)."""
    found = {}
    for name in names_in(root / "sys" / "bus" / "pci" / "slots"):
        try:
            with Directory(root / "sys" / "bus" / "pci" / "slots" / name) as directory:
                address = directory.text("address")
        except (FileNotFoundError, UnreadableError):
            continue
        if address is not None and address.count(":") == 2:
            found[address] = name
    return found


def _hotplug_ports(root: Path) -> frozenset[str]:
    """The ports whose hot-plug service (``BDF:pcie004``) is bound to pciehp.

    A slot's own directory does not tell who runs it: its link ``module`` lacks where the driver is
    built in, since sysfs shows built-in modules after slots were made (seen on 6.12 and 7.2).
    """
    services = names_in(root / "sys" / "bus" / "pci_express" / "drivers" / "pciehp")
    ports = (name.rpartition(":")[0] for name in services)
    return frozenset(port for port in ports if PCI_NAME.fullmatch(port))
