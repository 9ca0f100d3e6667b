"""Why the kernel refuses to give a group away, in the words of whoever must fix it."""

from __future__ import annotations

import errno
from pathlib import Path

from isod.kernel.scan_group import groups_directory, scan_group
from isod.kernel.tree import Directory, UnreadableError
from isod.model.reason import Reason, RefusedError
from isod.model.step import GroupName

from .variants import is_vfio_driver

_MANAGE_NO_DMA = frozenset({"pci-stub", "pcieport"})


def blocking_members(root: Path, group: int) -> dict[str, str]:
    """The members whose driver manages DMA, by address: vfio drivers, pci-stub and pcieport do
    not (``driver_managed_dma`` in their sources); a bridge on shpchp does."""
    found = scan_group(root, group)
    blocking = {}
    for address in found.members if found is not None else ():
        place = groups_directory(root) / str(group) / "devices" / address.name
        try:
            with Directory(place) as directory:
                driver = directory.link("driver")
        except (FileNotFoundError, UnreadableError):
            continue
        if driver is not None and not is_vfio_driver(driver) and driver not in _MANAGE_NO_DMA:
            blocking[str(address)] = driver
    return blocking


def viability_refusal(root: Path, group: GroupName) -> RefusedError:
    """The group is not viable: names the members that block it. Without such a member somebody
    outside owns its DMA."""
    blocking = blocking_members(root, group.number)
    if not blocking:
        return RefusedError(
            Reason.held_outside,
            f"group {group.number} has another owner, though no member's driver blocks it",
            errno=errno.EPERM,
        )
    names = ", ".join(f"{address} is on {driver}" for address, driver in blocking.items())
    return RefusedError(
        Reason.not_viable,
        f"group {group.number} is not viable: {names}",
        devices=list(blocking),
        drivers=blocking,
        errno=errno.EPERM,
    )


def firmware_refusal(root: Path, group: GroupName) -> RefusedError | None:
    """The group has regions that firmware wants mapped 1:1, if it has."""
    found = scan_group(root, group.number)
    if found is None or not found.firmware_mappings:
        return None
    places = ", ".join(f"{region.start:#x}-{region.end:#x}" for region in found.firmware_mappings)
    return RefusedError(
        Reason.firmware_mapping,
        f"firmware has memory mapped for group {group.number} ({places})",
        errno=errno.EINVAL,
    )
