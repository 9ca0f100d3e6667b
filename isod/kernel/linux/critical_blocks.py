"""Block devices: what they are built of, and on which PCI devices they end.

Read below ``/sys/class/block/NAME`` (Documentation/ABI/stable/sysfs-block): the link itself, whose
path goes through a partition's disk and the disk's controller; the folder ``slaves`` of what is
built of others (device mapper, MD, bcache); ``dm/name`` and ``dm/uuid``, whose beginning tells
who made it (LVM-, CRYPT-, mpath-); ``/sys/dev/block/MAJOR:MINOR``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .critical_finding import entries, pci_above, real_path

_MAKERS = {"LVM": "LVM volume", "CRYPT": "dm-crypt", "mpath": "multipath"}


class Blocks:
    """The block devices of the host. Names are the kernel's: ``nvme0n1p2``, ``dm-0``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._directory = root / "sys/class/block"
        self.names = tuple(entries(self._directory))
        self._known = frozenset(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def numbered(self, numbers: str) -> str | None:
        """The block device of ``MAJOR:MINOR``; None when there is none."""
        path = real_path(self.root / "sys/dev/block" / numbers)
        return None if path is None else path.rpartition("/")[2]

    def at(self, path: str) -> str | None:
        """The block device behind a path in /dev; None when it cannot be told."""
        place = self.root / path.lstrip("/")
        try:
            status = place.stat()
        except OSError:
            status = None
        if status is not None and stat.S_ISBLK(status.st_mode):
            return self.numbered(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
        name = place.name if status is None else place.resolve().name
        return name if name in self else None

    def parts(self, name: str) -> list[str]:
        """What a block device is built of, directly."""
        return entries(self._directory / name / "slaves")

    def ends(self, name: str) -> Iterator[tuple[str, str]]:
        """The PCI devices that hold a block device, each with the part that lies on it."""
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            at = ahead.pop()
            if at in seen:
                continue
            seen.add(at)
            parts = self.parts(at)
            ahead += parts
            if not parts:
                yield from ((device, at) for device in self._controllers(at))

    def built(self) -> Iterator[str]:
        """The block devices that are built of others."""
        return (name for name in self.names if self.parts(name))

    def words(self, name: str) -> str:
        """``LVM volume vg-root``, ``MD array md0``, or the plain name."""
        identity = _text(self._directory / name / "dm/uuid")
        if identity is not None:
            maker = _MAKERS.get(identity.partition("-")[0], "device mapper's")
            return f"{maker} {_text(self._directory / name / 'dm/name') or name}"
        return f"MD array {name}" if (self._directory / name / "md").is_dir() else name

    def _controllers(self, name: str) -> list[str]:
        path = real_path(self._directory / name)
        if path is None:
            return []
        device = pci_above(path)
        if device is not None:
            return [device]
        # A namespace with several paths hangs below its subsystem, which has no place in PCI
        # (drivers/nvme/host/multipath.c); the controllers are links in there.
        subsystem = next((part for part in path.split("/") if _is_subsystem(part)), None)
        if subsystem is None:
            return []
        place = self.root / "sys/class/nvme-subsystem" / subsystem
        paths = (real_path(place / entry) for entry in entries(place) if _is_controller(entry))
        return sorted({device for p in paths if p is not None and (device := pci_above(p))})


def _is_subsystem(part: str) -> bool:
    return part.startswith("nvme-subsys") and part.removeprefix("nvme-subsys").isdecimal()


def _is_controller(entry: str) -> bool:
    return entry.startswith("nvme") and entry.removeprefix("nvme").isdecimal()


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
