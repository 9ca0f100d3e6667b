"""Device nodes below /dev: opened only when they are what sysfs says they are."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

CONTAINER = "vfio/vfio"
IOMMUFD = "iommu"


def group_node(root: Path, number: int) -> str:
    """The node of a group, as a path below /dev: ``vfio/12``, or ``vfio/noiommu-12``."""
    if (root / "sys/class/vfio" / f"noiommu-{number}").exists():
        return f"vfio/noiommu-{number}"
    return f"vfio/{number}"


def cdev_node(name: str) -> str:
    """The node of a device's cdev, as a path below /dev."""
    return f"vfio/devices/{name}"


def node_number(root: Path, node: str) -> int | None:
    """The device number (``st_rdev``) that a node must have; None for the two misc devices, whose
    numbers sysfs keeps elsewhere. Raises FileNotFoundError when the kernel knows no such node."""
    if node in {CONTAINER, IOMMUFD}:
        return None
    kind = "vfio-dev" if node.startswith("vfio/devices/") else "vfio"
    text = (root / "sys/class" / kind / node.rpartition("/")[2] / "dev").read_text()
    major, _, minor = text.strip().partition(":")
    return os.makedev(int(major), int(minor))


def open_node(root: Path, node: str, flags: int = os.O_RDWR) -> int:
    """Open a node below /dev, without following a link at its end. The caller closes it.

    Raises OSError: EBUSY while somebody else has a group open, ENODEV when the node is not the
    device that sysfs names (or while its group goes away), ENOENT when there is none.
    """
    path = root / "dev" / node
    try:
        expected = node_number(root, node)
    except ValueError as error:
        raise OSError(errno.ENODEV, "sysfs names no device number", str(path)) from error
    # Looked at before it is opened: opening is what has effects. O_PATH has none.
    pinned = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(pinned)
        if not stat.S_ISCHR(found.st_mode) or expected not in {None, found.st_rdev}:
            raise OSError(errno.ENODEV, "not the device's node", str(path))
        if flags & os.O_PATH:
            return os.dup(pinned)
        return os.open(f"/proc/self/fd/{pinned}", flags | os.O_CLOEXEC)
    finally:
        os.close(pinned)
