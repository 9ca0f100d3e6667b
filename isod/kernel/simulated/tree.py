"""The files of a simulated host: where they lie, and how they are read and written.

A directory holds ``sys`` and ``dev``, which stand for the real ones, and beside them what a
kernel keeps in memory: ``machine.json`` (what it can do), ``opens`` (the open files), ``journal``
(what changed), ``pending`` (unbinds that wait), ``gone`` (what was removed, kept so that its
inode, the generation, is never given again), ``limits``, ``acl``, ``faults`` and ``resets``.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

PCI_NAME = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
UNSET = "(null)"

_PLACES = {
    "machine": ("machine.json",),
    "lock": ("lock",),
    "opens": ("opens",),
    "journal": ("journal",),
    "pending": ("pending",),
    "gone": ("gone",),
    "limits": ("limits",),
    "acl": ("acl",),
    "faults": ("faults",),
    "resets": ("resets",),
    "dev": ("dev",),
    "vfio": ("dev", "vfio"),
    "cdevs": ("dev", "vfio", "devices"),
    "devices": ("sys", "bus", "pci", "devices"),
    "drivers": ("sys", "bus", "pci", "drivers"),
    "slots": ("sys", "bus", "pci", "slots"),
    "groups": ("sys", "kernel", "iommu_groups"),
}


class Tree:
    """Paths and small files of one host. Names are PCI names as sysfs writes them."""

    machine: Path
    lock: Path
    opens: Path
    journal: Path
    pending: Path
    gone: Path
    limits: Path
    acl: Path
    faults: Path
    resets: Path
    dev: Path
    vfio: Path
    cdevs: Path
    devices: Path
    drivers: Path
    slots: Path
    groups: Path

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getattr__(self, name: str) -> Path:
        """The places, each made when it is first asked for: most calls need few of them."""
        try:
            path = self.root.joinpath(*_PLACES[name])
        except KeyError:
            raise AttributeError(name) from None
        setattr(self, name, path)
        return path

    def directory(self, name: str) -> Path | None:
        """A device's own directory below ``sys/devices``; None when there is no such device."""
        link = link_text(self.devices / name)
        if link is None:
            return None
        return Path(os.path.normpath(self.devices / link))

    def generation(self, name: str) -> int | None:
        """The inode of a device's directory; None when there is no such device."""
        try:
            return (self.devices / name).stat().st_ino
        except FileNotFoundError:
            return None

    def group_generation(self, number: int) -> int | None:
        """The inode of a group's directory; None when there is no such group."""
        try:
            return (self.groups / str(number)).stat().st_ino
        except FileNotFoundError:
            return None

    def driver(self, name: str) -> str | None:
        """The driver that a device is bound to."""
        link = link_text(self.devices / name / "driver")
        return None if link is None else link.rpartition("/")[2]

    def group(self, name: str) -> int | None:
        """The number of a device's IOMMU group."""
        link = link_text(self.devices / name / "iommu_group")
        return None if link is None else int(link.rpartition("/")[2])

    def members(self, number: int) -> tuple[str, ...]:
        """The devices of a group, sorted; none when there is no such group."""
        try:
            return tuple(sorted(names_in(self.groups / str(number) / "devices")))
        except FileNotFoundError:
            return ()

    def attribute(self, name: str, attribute: str) -> str:
        """A device's attribute without the newline; empty when it is not there."""
        return text(self.devices / name / attribute) or ""

    def override(self, name: str) -> str | None:
        """The device's ``driver_override``; None when unset."""
        found = self.attribute(name, "driver_override")
        return None if found in ("", UNSET) else found

    def set_override(self, name: str, driver: str | None) -> None:
        """Write ``driver_override``; an empty text or None unsets it."""
        wanted = driver or UNSET
        if self.attribute(name, "driver_override") != wanted:
            overwrite(self.devices / name / "driver_override", wanted)

    def set_enabled(self, name: str, count: int) -> None:
        """Write ``enable``. A program without the right to leaves it to the next one."""
        path = self.devices / name / "enable"
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if text(path) != str(count):
                overwrite(path, str(count))


def text(path: Path) -> str | None:
    """A small file's content without blanks around it; None when it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.read(descriptor, 65536).decode().strip()
    finally:
        os.close(descriptor)


def names_in(path: Path) -> list[str]:
    """What a directory holds, in no order. Raises FileNotFoundError.

    Without what a killed process left half written (see ``replace``).
    """
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(".")]


def link_text(path: Path) -> str | None:
    """Where a symbolic link points; None when it is not there."""
    try:
        return str(path.readlink())
    except (FileNotFoundError, NotADirectoryError):
        return None


def link(path: Path, target: Path) -> None:
    """Make a relative symbolic link, or leave the one that is there."""
    with contextlib.suppress(FileExistsError):
        path.symlink_to(os.path.relpath(target, path.parent))


def overwrite(path: Path, content: str) -> None:
    """Write an attribute in place, in one write that leaves nothing of a longer former one.

    Neither emptied nor replaced first, which would make some file systems wait for the disk.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        line = f"{content}\n".encode()
        os.pwrite(descriptor, line.ljust(os.fstat(descriptor).st_size, b"\n"), 0)
        os.ftruncate(descriptor, len(line))
    finally:
        os.close(descriptor)


def replace(path: Path, content: str) -> None:
    """Write a small file so that no reader sees half of it.

    A process that is killed on the way leaves the hidden half, which ``names_in`` does not name.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(content)
    aside.rename(path)
