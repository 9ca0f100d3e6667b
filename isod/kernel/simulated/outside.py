"""What happens to a host without isod: hot-plug, an administrator's bare hands, other programs.

A foreign root program is simply one that uses ``calls.open_group`` and the like.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import fence, journal
from .binding import bind, change_driver, drivers_probe
from .entry import entered
from .failure import failure
from .host import Host
from .hotplug import bring_back, take_away
from .nodes import rights
from .resets import ResetSeen, resets_seen
from .sriov import set_virtual_functions
from .tree import UNSET
from .tree import replace as replace_file


def unplug(directory: Path, device: str) -> bool:
    """Remove a device, as writing to its ``remove`` does; True when it is gone.

    While files of it are open the real writer would wait: here the removal goes on by itself
    after the last close, at the latest when somebody next looks. Raises ENODEV.
    """
    host = Host(directory)
    with entered(host):
        _there(host, device)
        if host.on_vfio(device):
            return fence.begin(host, device, "remove")
        change_driver(host, device, None)
        take_away(host, device)
        return True


def replug(directory: Path, device: str) -> None:
    """Add an unplugged device again: another instance, on the driver that fits it.

    Raises ENODEV if it was not unplugged.
    """
    host = Host(directory)
    with entered(host):
        fence.finish_pending(host, None)
        bring_back(host, device)


def virtual_functions(directory: Path, physical: str, count: int) -> None:
    """Write a number to ``sriov_numvfs``. Raises ENODEV, EBUSY."""
    host = Host(directory)
    with entered(host):
        fence.finish_pending(host, None)
        set_virtual_functions(host, physical, count)


def write(directory: Path, device: str, attribute: str, content: str) -> None:
    """Write a device's attribute, ``driver_override`` say. Raises ENODEV."""
    host = Host(directory)
    with entered(host):
        _there(host, device)
        if attribute == "driver_override":
            content = content.strip() or UNSET
        replace_file(host.tree.devices / device / attribute, content.rstrip("\n") + "\n")
        journal.write(host.tree.journal, device)


def bind_driver(directory: Path, device: str, driver: str) -> None:
    """Write a device's name to a driver's ``bind``. Raises ENODEV, EBUSY, the probe's error."""
    host = Host(directory)
    with entered(host):
        _there(host, device)
        bind(host, device, driver)


def probe_drivers(directory: Path, device: str) -> None:
    """Write a device's name to ``drivers_probe``: no match is no error. Raises ENODEV, EINVAL."""
    host = Host(directory)
    with entered(host):
        drivers_probe(host, device)


def unbind_driver(directory: Path, device: str) -> bool:
    """Write a device's name to its driver's ``unbind``; True when it has returned.

    From a vfio driver it waits for open files: then it is under way. Raises ENODEV without
    a driver.
    """
    host = Host(directory)
    with entered(host):
        _there(host, device)
        if host.on_vfio(device):
            return fence.begin(host, device)
        if host.tree.driver(device) is None:
            raise failure(errno.ENODEV, f"{device} has no driver")
        change_driver(host, device, None)
        return True


def wait_unbound(directory: Path, device: str) -> None:
    """Block until an unbind or removal that is under way is done."""
    fence.wait(Host(directory), device)


def acl(directory: Path, node: str) -> dict[int, str]:
    """The uids in the ACL of a node (a path below /dev), each with its rights."""
    host = Host(directory)
    with entered(host):
        return dict.fromkeys(sorted(rights(host, node)), "rw")


def resets(directory: Path) -> list[ResetSeen]:
    """Every reset that devices have seen, oldest first, after what was closed has had its own."""
    host = Host(directory)
    with entered(host):
        for place in host.tree.opens.iterdir():
            if place.name.isdecimal():
                host.files(int(place.name))
    return resets_seen(host)


def change_machine(directory: Path, **changes: Any) -> None:
    """Change fields of the Machine: ``isolated_msi=False``, ``noiommu=True``."""
    host = Host(directory)
    with entered(host):
        aside = host.tree.machine.with_name(".machine.json")
        replace(host.machine, **changes).save(aside)
        aside.rename(host.tree.machine)


def _there(host: Host, device: str) -> None:
    if host.tree.directory(device) is None:
        raise failure(errno.ENODEV, f"no device {device}")
