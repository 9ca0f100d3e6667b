"""Devices that go away and come back, as another instance at the same address."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path

from . import journal
from .binding import NOIOMMU, change_driver, drivers_probe
from .failure import failure
from .host import Host
from .tree import PCI_NAME, UNSET, link, names_in, text

_FRESH = ("driver", "iommu_group", "vfio-dev")


def take_away(host: Host, name: str) -> None:
    """Remove a device that is on no driver, and what is below it.

    Its directory is kept aside: its inode, the generation, must not be given again.
    """
    tree, directory = host.tree, host.tree.directory(name)
    if directory is None:
        return
    for below in sorted(names_in(directory)):
        if PCI_NAME.fullmatch(below):
            change_driver(host, below, None)
            take_away(host, below)
    group = tree.group(name)
    (tree.devices / name).unlink()
    kept = tree.gone / f"{name}@{uuid.uuid4().hex[:8]}"
    kept.mkdir()
    (kept / "parent").symlink_to(os.path.relpath(directory.parent, kept))
    if group is not None:
        (kept / "group").write_text(str(group))
        shutil.copytree(tree.groups / str(group), kept / "group-copy", symlinks=True)
        (tree.groups / str(group) / "devices" / name).unlink()
        if not tree.members(group):
            (tree.groups / str(group)).rename(kept / "group-directory")
    directory.rename(kept / "device")
    link(tree.gone / name, kept)
    journal.write(tree.journal, name)


def bring_back(host: Host, name: str) -> None:
    """Add a removed device again: a new instance, probed by the drivers that fit it.

    Raises ENODEV if no such device was removed.
    """
    tree = host.tree
    kept = tree.gone / name
    if not kept.is_symlink():
        raise failure(errno.ENODEV, "no such device was removed")
    parent = Path(os.path.realpath(kept / "parent"))
    directory = parent / name
    shutil.copytree(
        Path(os.path.realpath(kept)) / "device",
        directory,
        symlinks=True,
        ignore=lambda _, names: [item for item in names if item in _FRESH],
    )
    (directory / "driver_override").write_text(UNSET + "\n")
    (directory / "enable").write_text("0\n")
    number = text(kept / "group")
    if number is not None:
        group = tree.groups / number
        if not group.is_dir() and text(kept / "group-copy" / "name") != NOIOMMU:
            ignore = shutil.ignore_patterns("devices")
            shutil.copytree(kept / "group-copy", group, symlinks=True, ignore=ignore)
            (group / "devices").mkdir()
        if group.is_dir():
            link(group / "devices" / name, directory)
            link(directory / "iommu_group", group)
    kept.unlink()
    link(tree.devices / name, directory)
    journal.write(tree.journal, name)
    drivers_probe(host, name)
