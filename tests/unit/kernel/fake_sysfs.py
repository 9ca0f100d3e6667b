"""A few devices as sysfs shows them, in a directory."""

from __future__ import annotations

import os
from pathlib import Path

_ATTRIBUTES = {
    "vendor": "0x8086",
    "device": "0x10d3",
    "subsystem_vendor": "0x8086",
    "subsystem_device": "0x0000",
    "class": "0x020000",
    "revision": "0x01",
    "modalias": "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00",
    "driver_override": "(null)",
    "reset_method": "pm bus",
    "enable": "0",
    "numa_node": "-1",
}


def link(path: Path, target: Path) -> None:
    path.symlink_to(os.path.relpath(target, path.parent))


def add_group(root: Path, number: int, regions: str = "", kind: str = "DMA") -> Path:
    group = root / "sys/kernel/iommu_groups" / str(number)
    (group / "devices").mkdir(parents=True)
    (group / "type").write_text(f"{kind}\n")
    (group / "reserved_regions").write_text(regions)
    return group


def add_device(
    root: Path,
    name: str,
    *,
    above: str = "",
    group: Path | None = None,
    driver: str | None = None,
    **attributes: str,
) -> Path:
    """Add a PCI device; ``above`` is its place below ``/sys/devices/pci0000:00``."""
    device = root / "sys/devices/pci0000:00" / above / name
    device.mkdir(parents=True)
    for attribute, text in (_ATTRIBUTES | attributes).items():
        (device / attribute).write_text(f"{text}\n")
    bus = root / "sys/bus/pci/devices"
    bus.mkdir(parents=True, exist_ok=True)
    link(bus / name, device)
    if group is not None:
        link(device / "iommu_group", group)
        link(group / "devices" / name, device)
    if driver is not None:
        place = root / "sys/bus/pci/drivers" / driver
        place.mkdir(parents=True, exist_ok=True)
        link(device / "driver", place)
    return device
