"""What can be seen of open files, without disturbing anybody."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from isod.kernel.scan import pci_directory
from isod.kernel.tree import Directory, UnreadableError, decimal
from isod.model.lease import LeaseDevice
from isod.model.step import GroupName, Use

from .group import group_is_busy
from .variants import is_vfio_driver


def look_at_use(root: Path, devices: Collection[LeaseDevice], groups: Collection[GroupName]) -> Use:
    """Devices that are enabled under a vfio driver, and groups that cannot be opened.

    A group of which a device is known to be open is busy without being opened: our own open and
    close of a free group is seen by its watchers, so it happens only when it can tell something.
    """
    found = tuple(device.address for device in devices if _is_open(root, device))
    known = {device.group for device in devices if device.address in found}
    busy = tuple(
        group.number for group in groups if group.number in known or group_is_busy(root, group)
    )
    return Use(open=found, busy_groups=busy)


def _is_open(root: Path, device: LeaseDevice) -> bool:
    if device.address.bus != "pci":
        return False
    try:
        with Directory(pci_directory(root) / device.address.name) as directory:
            if directory.generation != device.generation:
                return False
            driver = directory.link("driver")
            if driver is None or not is_vfio_driver(driver):
                return False
            return decimal(directory.text("enable")) != 0
    except FileNotFoundError:
        return False
    except UnreadableError:
        return True
