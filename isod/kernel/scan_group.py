"""IOMMU groups: from ``/sys/kernel/iommu_groups/N`` to a frozen Group."""

from __future__ import annotations

import os
import re
from pathlib import Path

from isod.model.address import Address
from isod.model.host import Group, ReservedRegion

from .tree import (
    PCI_NAME,
    Directory,
    ShortageError,
    UnreadableError,
    check_shortage,
    is_gone,
    names_in,
    unreadable,
)

_REGION = re.compile(r"0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) ([a-z-]+(?: [a-z-]+)*)")


def groups_directory(root: Path) -> Path:
    return root / "sys" / "kernel" / "iommu_groups"


def scan_group(root: Path, number: int) -> Group | None:
    """Read one group; None when it is gone. Raises UnreadableError, also for its reserved regions
    alone (a group without known regions must not look like one without firmware mappings)."""
    path = f"{groups_directory(root)}/{number}"
    try:
        with Directory(path) as directory:
            members = tuple(sorted(member_address(path, name) for name in _members(path)))
            return Group(
                number=number,
                generation=directory.generation,
                members=members,
                kind=directory.text("type") or "unknown",
                reserved_regions=_regions(directory.text("reserved_regions") or ""),
                name=directory.text("name") or None,
            )
    except FileNotFoundError:
        return None
    except ShortageError:
        raise
    except UnreadableError:
        if is_gone(path):
            return None
        raise


def scan_groups(root: Path) -> tuple[dict[int, Group], dict[Address | int, str]]:
    """All groups by number, and why others cannot be read. Raises UnreadableError when not even
    their numbers can be, and ShortageError."""
    found: dict[int, Group] = {}
    unread: dict[Address | int, str] = {}
    for name in names_in(groups_directory(root)):
        if name.isdecimal():
            try:
                group = scan_group(root, int(name))
            except ShortageError:
                raise
            except UnreadableError as error:
                unread[int(name)] = str(error)
                continue
            if group is not None:
                found[group.number] = group
    return found, unread


def member_address(group: str, name: str) -> Address:
    """The address of a group's member, whatever bus it is on: none is ever left out."""
    if PCI_NAME.fullmatch(name):
        return Address.pci(name)
    try:
        bus = Path(group, "devices", name, "subsystem").readlink().name
    except OSError as error:
        check_shortage(f"{group}/devices/{name}", error)
        bus = "unknown"
    return Address(bus, name)


def _members(path: str) -> list[str]:
    try:
        with os.scandir(f"{path}/devices") as entries:
            return [entry.name for entry in entries]
    except OSError as error:
        raise unreadable(f"{path}/devices", error) from error


def _regions(text: str) -> tuple[ReservedRegion, ...]:
    """Lines ``0xSTART 0xEND TYPE`` (drivers/iommu/iommu.c, iommu_group_show_resv_regions)."""
    found = []
    for line in text.splitlines():
        match = _REGION.fullmatch(line.strip())
        if match is None:
            raise UnreadableError(f"not a reserved region: {line!r}")
        found.append(ReservedRegion(int(match[1], 16), int(match[2], 16), match[3]))
    return tuple(found)
