"""A simulated host of the same shape as the machine that this runs on."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Mapping
from pathlib import Path

from isod.kernel.simulated.machine import DriverKind, Machine
from isod.kernel.simulated.topology import Model, Place, SimulatedHost
from isod.model.host import VFIO_PCI

_PCI = Path("/sys/bus/pci")
_PORTS = Path("/sys/bus/pci_express/drivers/pciehp")
_MANAGE_NO_DMA = ("pcieport",)


def twin(natives: Mapping[str, str], failing: Iterable[str]) -> SimulatedHost:
    """The host. ``natives`` are the kernel's own drivers of devices, by their names; ``failing``
    the buses whose reset fails."""
    places = tuple(
        _place(path, natives.get(path.name)) for path in sorted((_PCI / "devices").iterdir())
    )
    slots = {slot.name: _text(slot / "address") for slot in sorted((_PCI / "slots").glob("*"))}
    ports = {path.name.partition(":pcie")[0] for path in _PORTS.glob("*:pcie*")}
    return SimulatedHost(
        about="as the guest",
        places=places,
        slots={name: address for name, address in slots.items() if ":" in address},
        machine=Machine(
            slot_resets=tuple(_below(_PCI / "devices" / port) for port in sorted(ports)),
            failing_resets=tuple(failing),
        ),
    )


def natives() -> dict[str, str]:
    """The drivers that devices are on now, vfio's and stubs left out."""
    found = {}
    for path in (_PCI / "devices").iterdir():
        driver = _link(path / "driver")
        if driver not in (None, VFIO_PCI, "pci-stub"):
            found[path.name] = driver
    return found


def failing_buses(devices: Iterable[str]) -> list[str]:
    """The buses of these devices whose reset fails. Nothing of theirs may be in use."""
    failing = []
    for bridge in sorted({(_PCI / "devices" / one).resolve().parent for one in devices}):
        attribute = bridge / "reset_subordinate"
        with contextlib.suppress(FileNotFoundError):
            try:
                attribute.write_text("1")
            except OSError as error:
                if error.errno != errno.ENOTTY:
                    raise
                failing.append(_below(bridge))
    return failing


def _place(path: Path, native: str | None) -> Place:
    bridge = _text(path / "class").startswith("0x0604")
    kind: DriverKind = "port" if native in _MANAGE_NO_DMA else "kernel"
    model = Model(
        vendor=_text(path / "vendor")[2:],
        product=_text(path / "device")[2:],
        device_class=_text(path / "class")[2:],
        driver=native,
        bridge=bridge,
        kind=kind,
    )
    group = _link(path / "iommu_group")
    below = _below(path) if bridge else ""
    methods = path / "reset_method"
    return Place(
        at=path.name,
        model=model,
        group=None if group is None else int(group),
        below=below.rpartition(":")[2] or None,
        driver=_link(path / "driver") or "",
        # Without methods now, but with the file: it had some when it was found.
        resets=tuple(_text(methods).split()) or ("",) if methods.exists() else (),
    )


def _below(bridge: Path) -> str:
    number = _text(bridge / "secondary_bus_number")
    return f"{bridge.name.partition(':')[0]}:{int(number):02x}" if number else ""


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _link(path: Path) -> str | None:
    return path.readlink().name if path.is_symlink() else None
