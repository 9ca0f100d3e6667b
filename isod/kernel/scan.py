"""A whole host: from the sysfs below a root directory to one HostSnapshot.

``root`` is ``/`` on a real machine; a simulated or captured host is a directory with the same
``sys`` in it. What is gone half-way through is left out; so is what cannot be read, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

from isod.model.address import Address, BadAddressError
from isod.model.host import Device, Features, Group, HostSnapshot

from .overrides import Override, OverrideReader, plain_reader
from .scan_device import NOIOMMU_GROUP, Surroundings, read_other_device, read_pci_device
from .scan_group import groups_directory, scan_group, scan_groups
from .scan_numa import scan_distances
from .tree import PCI_NAME, Directory, ShortageError, UnreadableError, is_gone, names_in

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
    distances of the NUMA nodes. What cannot be read is in ``unread``. Raises UnreadableError when
    not even its names can be read, or this process is short of something."""
    groups, unread = scan_groups(root)
    around = Surroundings(_slots(root), _hotplug_ports(root), _noiommu_groups(groups.values()))
    names = [name for name in names_in(pci_directory(root)) if PCI_NAME.fullmatch(name)]
    devices: dict[Address, Device] = {}
    read = overrides or plain_reader(root)
    try:
        known = read(names)
    except OSError as error:
        # Without them nothing may be planned; all else of these devices is to be seen all the same.
        known = dict.fromkeys(names, Override(unsettled=True))
        unread |= dict.fromkeys(map(Address.pci, names), f"no helper process: {error.strerror}")
    others = {a: g.number for g in groups.values() for a in g.members if a.bus != "pci"}
    mediated = dict.fromkeys(_mediated(root))
    scans: dict[Address, Callable[[], Device | None]] = {
        **{Address.pci(name): partial(_scan_pci, root, name, around, known) for name in names},
        **{a: partial(_scan_other, root, a, group) for a, group in (mediated | others).items()},
    }
    for address, scan in scans.items():
        try:
            found = scan()
        except ShortageError:
            raise
        except UnreadableError as error:
            unread[address] = str(error)
            continue
        if found is not None:
            devices[address] = found
    return HostSnapshot(
        sequence,
        MappingProxyType(devices),
        MappingProxyType(groups),
        features,
        scan_distances(root),
        unread=MappingProxyType(unread),
    )


def scan_device(
    root: Path, address: Address, overrides: OverrideReader | None = None
) -> Device | None:
    """Read one device anew; None when it is gone. Raises UnreadableError when it is there and
    cannot be read, and OSError as the reader of overrides does."""
    if address.bus != "pci":
        return _scan_other(root, address, None)
    path = pci_directory(root) / address.name
    try:
        with Directory(path) as directory:
            link = directory.link("iommu_group")
    except FileNotFoundError:
        return None
    group = _readable_group(root, int(link)) if link is not None and link.isdecimal() else None
    around = Surroundings(
        _slots(root), _hotplug_ports(root), _noiommu_groups([] if group is None else [group])
    )
    read = overrides or plain_reader(root)
    return _scan_pci(root, address.name, around, read([address.name]))


def _scan_pci(
    root: Path, name: str, around: Surroundings, overrides: Mapping[str, Override]
) -> Device | None:
    place = f"{pci_directory(root)}/{name}"
    override = overrides.get(name)
    try:
        if override is None:
            raise UnreadableError(f"{place}: its driver_override cannot be read")
        with Directory(place) as directory:
            return read_pci_device(directory, around, override)
    except FileNotFoundError:
        return None
    except ShortageError:
        raise
    except UnreadableError:
        if is_gone(place):
            return None
        raise


def _readable_group(root: Path, number: int) -> Group | None:
    """A device's group, for what it says of the device; None also where it cannot be read."""
    try:
        return scan_group(root, number)
    except ShortageError:
        raise
    except UnreadableError:
        return None


def _scan_other(root: Path, address: Address, group: int | None) -> Device | None:
    """A device of another bus, by its bus, or by its group where the bus is not known."""
    places = [root / "sys" / "bus" / address.bus / "devices" / address.name]
    if group is not None:
        places.append(groups_directory(root) / str(group) / "devices" / address.name)
    failure: UnreadableError | None = None
    for place in places:
        try:
            with Directory(place) as directory:
                return read_other_device(directory, address.bus)
        except FileNotFoundError:
            continue
        except ShortageError:
            raise
        except UnreadableError as error:
            if not is_gone(place):
                failure = error
    if failure is not None:
        raise failure
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
        except ShortageError:
            raise
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
