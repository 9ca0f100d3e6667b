"""A captured host, loaded as a simulated one.

What a capture cannot tell is taken as usual: interrupts are isolated, DMA is coherent, hot resets
work where there is a slot or a bus, and nothing is open or under way. Generations are new. A
driver fits the devices that it has, and no others.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isod.kernel.capture_file import CaptureError, read_capture, unpack
from isod.model.host import is_vfio_driver

from .binding import vfio_register
from .build import furnish
from .critical import FILE as CRITICAL
from .host import Host
from .machine import Driver, DriverKind, Machine
from .tree import PCI_NAME, Tree, names_in, text

_KINDS: Mapping[str, DriverKind] = {"pcieport": "port", "pci-stub": "stub"}


def load_capture(source: Path, directory: Path) -> None:
    """Make a simulated host of a capture, in a directory that is not there yet or empty. It is
    there as a whole or not at all. Raises CaptureError, OSError."""
    capture = read_capture(source)
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        aside.chmod(0o755)
        unpack(capture.entries, aside)
        tree = Tree(aside)
        for place in (tree.devices, tree.drivers, tree.slots, tree.groups):
            place.mkdir(parents=True, exist_ok=True)
        machine = _machine(tree, capture.manifest)
        furnish(tree, machine)
        (aside / CRITICAL).write_text(json.dumps(capture.manifest.get("critical") or {}) + "\n")
        machine.save(tree.machine)
        _open_for_users(aside)
        aside.rename(directory)
    except (KeyError, TypeError, ValueError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CaptureError(f"{source}: does not make sense: {error}") from error
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _machine(tree: Tree, manifest: Mapping[str, Any]) -> Machine:
    features = manifest["features"]
    return Machine(
        kernel=str(features["kernel"]),
        iommufd=features["iommufd"] is True,
        cdev=features["cdev"] is True,
        container=features["container"] is True,
        noiommu=features["noiommu"] is True,
        drivers=_drivers(tree),
        slot_resets=_slot_resets(tree),
    )


def _drivers(tree: Tree) -> dict[str, Driver]:
    """Each driver fits the devices that it has."""
    fits: dict[str, set[str]] = {name: set() for name in names_in(tree.drivers)}
    for device in names_in(tree.devices):
        driver = tree.driver(device)
        if driver is not None:
            fits.setdefault(driver, set()).add(tree.attribute(device, "modalias"))
    kinds = {name: _kind(name) for name in (*fits, "vfio-pci", "pci-stub")}
    return {
        name: Driver(kind, tuple(sorted(fits.get(name, ()))) if kind in ("kernel", "port") else ())
        for name, kind in sorted(kinds.items())
    }


def _kind(driver: str) -> DriverKind:
    return "vfio" if is_vfio_driver(driver) else _KINDS.get(driver, "kernel")


def _slot_resets(tree: Tree) -> tuple[str, ...]:
    """The buses below the ports that pciehp runs."""
    found = []
    services = tree.root / "sys/bus/pci_express/drivers/pciehp"
    for service in names_in(services) if services.is_dir() else ():
        port = service.rpartition(":")[0]
        number = text(tree.devices / port / "secondary_bus_number")
        if PCI_NAME.fullmatch(port) and number and number.isdecimal() and int(number):
            found.append(f"{port.partition(':')[0]}:{int(number):02x}")
    return tuple(sorted(found))


def _open_for_users(directory: Path) -> None:
    """Give the devices that were on vfio drivers their nodes, once the host is complete."""
    host = Host(directory)
    for name in names_in(host.tree.devices):
        place = host.tree.directory(name)
        driver = host.tree.driver(name)
        if place is None:
            continue
        functions = sum(entry.startswith("virtfn") for entry in names_in(place))
        if functions:  # a scan does not read it, since that may wait; a probe by vfio asks for it
            (place / "sriov_numvfs").write_text(f"{functions}\n")
        if driver is not None:
            link = host.tree.drivers / driver / name
            link.symlink_to(os.path.relpath(place, link.parent))
        if host.machine.kind(driver) == "vfio":
            vfio_register(host, place)
