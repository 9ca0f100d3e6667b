"""The piece of sysfs that a capture holds: what a scan reads, file by file, and its links."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from isod.model.host import HostSnapshot

from .capture_file import Entry
from .config_space import parse_config_space
from .scan import pci_directory
from .scan_group import groups_directory
from .tree import PCI_NAME, Directory, UnreadableError, names_in

# What scan_device and scan_group read. driver_override comes from the snapshot: reading it here
# could wait for a client.
PCI_ATTRIBUTES = (
    "vendor",
    "device",
    "subsystem_vendor",
    "subsystem_device",
    "class",
    "revision",
    "modalias",
    "numa_node",
    "reset_method",
    "enable",
    "secondary_bus_number",
    "sriov_totalvfs",
    "boot_vga",
    "boot_display",
)
OTHER_ATTRIBUTES = ("modalias", "numa_node")
GROUP_ATTRIBUTES = ("type", "reserved_regions", "name")
HEADER_BYTES = 16
# Of the first 64 bytes: ids, status, class, header type, and where the list of capabilities begins.
_HEADER_KEPT = (range(0x04), range(0x06, 0x0C), range(0x0E, 0x0F), range(0x14, 0x15), (0x34,))


def entries_of(
    root: Path, snapshot: HostSnapshot, *, serials: bool, survey: bool
) -> Iterator[Entry]:
    """The files and links of sysfs below ``root`` that a capture holds (blocking)."""
    top = os.path.realpath(root / "sys")
    names = [name for name in names_in(pci_directory(root)) if PCI_NAME.fullmatch(name)]
    overrides = {address.name: one.driver_override for address, one in snapshot.devices.items()}
    for name in names:
        place = _place(top, pci_directory(root) / name)
        if place is None or name not in overrides:
            continue
        yield _link(f"sys/bus/pci/devices/{name}", place)
        try:
            with Directory(pci_directory(root) / name) as directory:
                yield from _pci_device(top, directory, place, serials, survey)
        except (FileNotFoundError, UnreadableError):
            continue
        text = f"{overrides[name] or '(null)'}\n"
        yield Entry(f"{place}/driver_override", text.encode())
    yield from _groups(root, top)
    yield from _slots(root)
    yield from _numa_nodes(root)
    for name in names_in(root / "sys/bus/pci/drivers"):
        yield Entry(f"sys/bus/pci/drivers/{name}")
    for name in names_in(root / "sys/bus/pci_express/drivers/pciehp"):
        if PCI_NAME.fullmatch(name.rpartition(":")[0]):
            yield Entry(f"sys/bus/pci_express/drivers/pciehp/{name}", b"")


def _pci_device(
    top: str, directory: Directory, place: str, serials: bool, survey: bool
) -> Iterator[Entry]:
    yield from _attributes(directory, place, PCI_ATTRIBUTES)
    yield from _links(top, directory, place, "pci")
    for name in directory.names():
        if name == "physfn" or (name.startswith("virtfn") and name[6:].isdecimal()):
            target = _place(top, Path(directory.path, name))
            if target is not None:
                yield _link(f"{place}/{name}", target)
    if serials:
        yield from _attributes(directory, place, ("serial_number",))
        for controller in names_in(f"{directory.path}/nvme"):
            try:
                text = Path(directory.path, "nvme", controller, "serial").read_bytes()
            except OSError:
                continue
            yield Entry(f"{place}/nvme/{controller}/serial", text)
    if survey:
        yield Entry(f"{place}/config", _surveyed(directory))
    elif (directory.text("class") or "").startswith("0x06"):
        config = directory.data("config", HEADER_BYTES)
        if config is not None:
            yield Entry(f"{place}/config", _only(config, _HEADER_KEPT))


def _attributes(directory: Directory, place: str, names: Iterable[str]) -> Iterator[Entry]:
    for name in names:
        try:
            data = directory.data(name) if directory.has(name) else None
        except UnreadableError:
            continue
        if data is not None:
            yield Entry(f"{place}/{name}", data)


def _links(top: str, directory: Directory, place: str, bus: str) -> Iterator[Entry]:
    driver = directory.link("driver")
    if driver is not None:
        yield Entry(f"sys/bus/{bus}/drivers/{driver}")
        yield _link(f"{place}/driver", f"sys/bus/{bus}/drivers/{driver}")
    group = directory.link("iommu_group")
    if group is not None:
        yield _link(f"{place}/iommu_group", f"sys/kernel/iommu_groups/{group}")
    for name in names_in(f"{directory.path}/vfio-dev"):
        yield Entry(f"{place}/vfio-dev/{name}")
        if Path(directory.path, "vfio-dev", name, "dev").exists():
            yield Entry(f"{place}/vfio-dev/{name}/dev", b"0:0\n")


def _groups(root: Path, top: str) -> Iterator[Entry]:
    for number in names_in(groups_directory(root)):
        place = f"sys/kernel/iommu_groups/{number}"
        try:
            with Directory(groups_directory(root) / number) as directory:
                yield from _attributes(directory, place, GROUP_ATTRIBUTES)
        except (FileNotFoundError, UnreadableError):
            continue
        yield Entry(f"{place}/devices")
        for name in names_in(groups_directory(root) / number / "devices"):
            path = groups_directory(root) / number / "devices" / name
            member = _place(top, path)
            if member is None:
                continue
            yield _link(f"{place}/devices/{name}", member)
            if not PCI_NAME.fullmatch(name):
                yield from _other_device(top, path, member)


def _other_device(top: str, path: Path, place: str) -> Iterator[Entry]:
    """A group's member on another bus."""
    try:
        with Directory(path) as directory:
            bus = directory.link("subsystem")
            yield Entry(place)
            yield from _attributes(directory, place, OTHER_ATTRIBUTES)
            yield from _links(top, directory, place, bus or "unknown")
    except (FileNotFoundError, UnreadableError):
        return
    if bus is not None:
        yield Entry(f"sys/bus/{bus}")
        yield _link(f"{place}/subsystem", f"sys/bus/{bus}")
        yield _link(f"sys/bus/{bus}/devices/{path.name}", place)


def _slots(root: Path) -> Iterator[Entry]:
    top = root / "sys/bus/pci/slots"
    for name in names_in(top):
        try:
            with Directory(top / name) as directory:
                yield from _attributes(directory, f"sys/bus/pci/slots/{name}", ("address",))
        except (FileNotFoundError, UnreadableError):
            continue


def _numa_nodes(root: Path) -> Iterator[Entry]:
    top = root / "sys/devices/system/node"
    for name in names_in(top):
        if name.removeprefix("node").isdecimal():
            try:
                with Directory(top / name) as directory:
                    place = f"sys/devices/system/node/{name}"
                    yield from _attributes(directory, place, ("distance",))
            except (FileNotFoundError, UnreadableError):
                continue


def _place(top: str, path: Path) -> str | None:
    """Where a device really is, as a path that begins with ``sys``; None when it is gone."""
    real = os.path.realpath(path)
    if not real.startswith(f"{top}/devices/") or not os.path.isdir(real):  # noqa: PTH112
        return None
    return "sys" + real.removeprefix(top)


def _link(path: str, target: str) -> Entry:
    return Entry(path, target=posixpath.relpath(target, posixpath.dirname(path)))


def _only(data: bytes, kept: Iterable[Iterable[int]]) -> bytes:
    """The bytes at these places, zeros elsewhere."""
    found = bytearray(len(data))
    for places in kept:
        for place in places:
            if place < len(data):
                found[place] = data[place]
    return bytes(found)


def _surveyed(directory: Directory) -> bytes:
    """Config space with what the survey's parser reads of it, and zeros elsewhere. Where it may
    not be read as a whole it is cut, so that nobody takes zeros for a lack of capabilities."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open("config", flags, dir_fd=directory.descriptor)
    except OSError:
        return b""
    try:
        size = os.fstat(descriptor).st_size
        kept: list[range] = []
        cut = False

        def read(at: int, count: int) -> bytes:
            nonlocal cut
            data = os.pread(descriptor, count, at)
            cut |= len(data) < count
            if at:  # of the header the parser reads more than it uses
                kept.append(range(at, at + len(data)))
            return data

        parse_config_space(read, size)
        if cut:
            return _only(os.pread(descriptor, HEADER_BYTES, 0), _HEADER_KEPT)
        found = bytearray(size)
        header = _only(os.pread(descriptor, 64, 0), _HEADER_KEPT)
        found[: len(header)] = header
        for places in kept:
            found[places.start : places.stop] = os.pread(descriptor, len(places), places.start)
        return bytes(found)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
