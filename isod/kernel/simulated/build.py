"""Writing a simulated host into a directory."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from .config_space import config_bytes
from .critical import need
from .host import NotAHostError
from .machine import Machine
from .opens import CONTEXTS, make_place
from .topology import FULL_MSI, Place, SimulatedHost, full
from .tree import UNSET, Tree

_NEW = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC
_CHANGING = {"driver_override", "enable", "numa_node", "reset_method", "serial_number"}


def is_host(directory: Path) -> bool:
    """Whether a directory holds a simulated host, completely built."""
    return Tree(directory).machine.exists()


def build(directory: Path, host: SimulatedHost) -> None:
    """Write a host into a directory, which is made if it is not there.

    Raises NotAHostError if the directory holds another one, or part of one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tree = Tree(directory)
    if any(path.exists() for path in (tree.root / "sys", tree.dev, tree.opens)):
        raise NotAHostError(f"{directory} holds something already")
    machine = host.complete_machine()
    for place in (tree.devices, tree.drivers, tree.slots, tree.groups):
        place.mkdir(parents=True)
    furnish(tree, machine)
    for name in machine.drivers:
        (tree.drivers / name).mkdir()
    _write_groups(tree, host)
    _write_hotplug_ports(tree, host)
    _write_devices(tree, host, {name: driver.kind for name, driver in machine.drivers.items()})
    for slot, address in host.slots.items():
        (tree.slots / slot).mkdir()
        (tree.slots / slot / "address").write_text(full(address) + "\n")
    for device, uses in host.needs.items():
        for kind, words in uses:
            need(directory, full(device), kind, words)
    # Last, since it is what makes the directory a host.
    machine.save(tree.machine)


def furnish(tree: Tree, machine: Machine) -> None:
    """Make all that a host has beside its sysfs: nodes, and what its kernel keeps in memory."""
    for place in (tree.cdevs, tree.journal):
        place.mkdir(parents=True)
    for place in (tree.pending, tree.gone, tree.limits, tree.acl, tree.faults):
        place.mkdir()
    for shared in (tree.opens, tree.opens / CONTEXTS):
        make_place(shared)
    for empty in (tree.lock, tree.resets, tree.journal / "events"):
        empty.touch()
    tree.resets.chmod(0o666)
    if machine.iommufd:
        (tree.dev / "iommu").touch()
    if machine.container:
        (tree.vfio / "vfio").touch()


def _write_groups(tree: Tree, host: SimulatedHost) -> None:
    for number in sorted({place.group for place in host.places if place.group is not None}):
        group = tree.groups / str(number)
        (group / "devices").mkdir(parents=True)
        lines = (*host.regions.get(number, ()), FULL_MSI)
        (group / "reserved_regions").write_text("".join(f"{line}\n" for line in lines))
        (group / "type").write_text("DMA\n")


def _write_hotplug_ports(tree: Tree, host: SimulatedHost) -> None:
    """The ports that run the slot on the bus below them."""
    driver = tree.root / "sys" / "bus" / "pci_express" / "drivers" / "pciehp"
    driver.mkdir(parents=True)
    for place in host.places:
        domain = place.name.partition(":")[0]
        if place.below is not None and f"{domain}:{place.below}" in host.machine.slot_resets:
            (driver / f"{place.name}:pcie004").touch()


def _write_devices(tree: Tree, host: SimulatedHost, kinds: Mapping[str, str]) -> None:
    paths: dict[str, str] = {}
    bridges = {
        f"{place.name.partition(':')[0]}:{place.below}": place
        for place in host.places
        if place.below is not None
    }
    by_name = {place.name: place for place in host.places}

    def path_of(place: Place) -> str:
        if place.name not in paths:
            paths[place.name] = f"{_parent(place)}/{place.name}"
        return paths[place.name]

    def _parent(place: Place) -> str:
        if place.physical is not None:
            return path_of(by_name[full(place.physical)]).rpartition("/")[0]
        bus = place.name.rpartition(":")[0]
        above = bridges.get(bus)
        return path_of(above) if above is not None else f"devices/pci{bus}"

    writer = _Writer()
    slots = Counter(_slot(place) for place in host.places if place.physical is None)
    for place in host.places:
        driver = place.model.driver if place.driver is None else place.driver or None
        kind = None if driver is None else kinds[driver]
        path, on = path_of(place), kind in ("kernel", "port")
        _write_device(tree, writer, path, place, driver, on, slots[_slot(place)] > 1)
    for place in host.places:
        if place.physical is not None:
            _link_virtual_function(tree, path_of(by_name[full(place.physical)]), place)


def _slot(place: Place) -> str:
    return place.name.rpartition(".")[0]


def _write_device(
    tree: Tree,
    writer: _Writer,
    path: str,
    place: Place,
    driver: str | None,
    on: bool,
    several: bool,
) -> None:
    """``path`` is below ``sys``. Written with few and plain calls: hosts may be large. ``several``
    says that the device has more than one function."""
    directory = tree.root / "sys" / path
    directory.mkdir(parents=True)
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    up = "../" * (path.count("/") + 1)
    try:
        for name, content in _attributes(place, on).items():
            writer.put(directory, here, name, f"{content}\n".encode())
        config = config_bytes(place.model, several=several, virtual=place.physical is not None)
        writer.put(directory, here, "config", config)
        if place.group is not None:
            os.symlink(f"{up}kernel/iommu_groups/{place.group}", "iommu_group", dir_fd=here)
            members = tree.groups / str(place.group) / "devices"
            (members / place.name).symlink_to(f"../../../../{path}")
        if driver is not None:
            os.symlink(f"{up}bus/pci/drivers/{driver}", "driver", dir_fd=here)
            (tree.drivers / driver / place.name).symlink_to(f"../../../../{path}")
        (tree.devices / place.name).symlink_to(f"../../../{path}")
    finally:
        os.close(here)


class _Writer:
    """Writes attributes. What never changes is one file for all devices that share it: that
    makes large hosts quick to build. Whoever changes such a file replaces it."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, bytes], Path] = {}

    def put(self, path: Path, directory: int, name: str, content: bytes) -> None:
        """``directory`` is an fd of ``path``."""
        if name in _CHANGING:
            _put(directory, name, content)
            return
        same = self._shared.get((name, content))
        if same is not None:
            try:
                os.link(same, name, dst_dir_fd=directory)
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
            else:
                return
        _put(directory, name, content)
        self._shared[name, content] = path / name


def _put(directory: int, name: str, content: bytes) -> None:
    descriptor = os.open(name, _NEW, 0o666, dir_fd=directory)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _attributes(place: Place, on: bool) -> dict[str, str]:
    model = place.model
    found = {
        "vendor": f"0x{model.vendor}",
        "device": f"0x{model.product}",
        "subsystem_vendor": f"0x{model.subsystem[0]}",
        "subsystem_device": f"0x{model.subsystem[1]}",
        "class": f"0x{model.device_class}",
        "revision": "0x00",
        "modalias": model.modalias,
        "driver_override": UNSET,
        "enable": str(int(on)),
        "numa_node": str(place.numa),
    }
    resets = model.resets if place.resets is None else place.resets
    if resets:
        found["reset_method"] = " ".join(resets)
    if place.below is not None:
        found["secondary_bus_number"] = str(int(place.below, 16))
        found["subordinate_bus_number"] = str(int(place.below, 16))
    if place.serial is not None:
        found["serial_number"] = place.serial
    if model.device_class.startswith("03"):
        found["boot_vga"] = str(int(place.boot_vga))
    return found


def _link_virtual_function(tree: Tree, physical: str, place: Place) -> None:
    directory = tree.root / "sys" / physical
    index = sum(1 for entry in directory.iterdir() if entry.name.startswith("virtfn"))
    (directory / f"virtfn{index}").symlink_to(f"../{place.name}")
    (directory / "sriov_numvfs").write_text(f"{index + 1}\n")
    (directory / "sriov_totalvfs").write_text(f"{max(index + 1, 8)}\n")
    (directory.parent / place.name / "physfn").symlink_to(f"../{directory.name}")
