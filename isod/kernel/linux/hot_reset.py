"""The hot reset of a set between two owners: opened, asked, reset, looked at, closed.

Runs in a thread: what it opens is its own, and the kernel bounds the wait for a device that does
not come back at 60 s (drivers/pci/pci.c, PCIE_RESET_READY_POLL_MS).
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from isod.kernel.refusal import gone, refused_by_kernel
from isod.kernel.scan import pci_directory
from isod.kernel.scan_group import scan_group
from isod.kernel.tree import Directory, UnreadableError
from isod.kernel.whole_reset import (
    cannot_ask,
    cannot_bind,
    check_strangers,
    group_of,
    judged,
)
from isod.model.address import Address
from isod.model.host import Features
from isod.model.step import GroupName, HotReset, StepResult

from .cdev import bind_cdev, open_cdev, open_iommufd
from .control import control, retried
from .group import claim, open_container, open_device, open_group
from .uapi.vfio import VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, VFIO_DEVICE_PCI_HOT_RESET

_HEAD = struct.Struct("=III")
_ENTRY = struct.Struct("=IHBB")


def hot_reset(root: Path, features: Features, step: HotReset) -> StepResult:
    """Run a HotReset: see there for what it refuses. Everything is closed again."""
    if not _present(root, step.address, step.generation):
        raise gone(step.address)
    groups = _groups(root, step)
    with contextlib.ExitStack() as stack:
        if features.container:
            device, hit, fds = _open_by_group(root, step, groups, stack)
        else:
            device, hit, fds = _open_by_cdev(root, step, groups, stack)
        number = _reset(device, fds)
    return judged(root, step, hit, number)


def _open_by_group(
    root: Path, step: HotReset, groups: Mapping[Address, GroupName], stack: contextlib.ExitStack
) -> tuple[int, tuple[Address, ...], list[int]]:
    """The device through its group, and the fds of all groups of its set."""
    container = open_container(root)
    stack.callback(os.close, container)
    opened: dict[GroupName, int] = {}

    def open_also(group: GroupName) -> None:
        if group not in opened:
            opened[group] = open_group(root, group)
            stack.callback(os.close, opened[group])

    own = group_of(groups, step.address)
    open_also(own)
    claim(root, container, [(own, opened[own])])
    device = open_device(root, step.address, [(own, opened[own])])
    stack.callback(os.close, device)
    hit = _hit(root, step, device)
    for address in hit:
        open_also(group_of(groups, address))
    return device, hit, list(opened.values())


def _open_by_cdev(
    root: Path, step: HotReset, groups: Mapping[Address, GroupName], stack: contextlib.ExitStack
) -> tuple[int, tuple[Address, ...], list[int]]:
    """The device's cdev, and one of each further group of its set, bound to one iommufd. The set
    is then the caller's by the iommufd, and no fds are passed."""
    iommufd = open_iommufd(root)
    stack.callback(os.close, iommufd)
    bound: set[GroupName] = set()

    def bind(address: Address) -> int:
        device = open_cdev(root, address)
        stack.callback(os.close, device)
        try:
            bind_cdev(device, iommufd)
        except OSError as error:
            raise cannot_bind(address, error) from error
        bound.add(group_of(groups, address))
        return device

    device = bind(step.address)
    hit = _hit(root, step, device)
    for address in hit:
        if group_of(groups, address) not in bound:
            bind(address)
    return device, hit, []


def _hit(root: Path, step: HotReset, device: int) -> tuple[Address, ...]:
    """What the kernel says that a reset hits, if all of it is the step's. Raises RefusedError."""
    try:
        hit = _set_of(device)
    except OSError as error:
        raise cannot_ask(step, error) from error
    ours = {address for address, generation in step.members if _present(root, address, generation)}
    check_strangers(step, hit, ours)
    return hit


def _set_of(device: int) -> tuple[Address, ...]:
    """GET_PCI_HOT_RESET_INFO, with as much room as it asks for. Raises OSError."""
    count = 0
    while True:
        size = _HEAD.size + count * _ENTRY.size
        buffer = bytearray(_HEAD.pack(size, 0, 0)).ljust(size, b"\0")
        try:
            control(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, buffer)
        except OSError as error:
            needed = _HEAD.unpack_from(buffer)[2]
            if error.errno != errno.ENOSPC or needed <= count:
                raise
            count = needed
            continue
        found = _HEAD.unpack_from(buffer)[2]
        entries = _ENTRY.iter_unpack(buffer[_HEAD.size : _HEAD.size + found * _ENTRY.size])
        return tuple(
            Address.pci(f"{segment:04x}:{bus:02x}:{function >> 3:02x}.{function & 7}")
            for _, segment, bus, function in entries
        )


def _reset(device: int, groups: list[int]) -> int:
    """VFIO_DEVICE_PCI_HOT_RESET; the errno."""
    size = _HEAD.size + 4 * len(groups)
    buffer = bytearray(_HEAD.pack(size, 0, len(groups)) + struct.pack(f"={len(groups)}i", *groups))
    try:
        retried(lambda: control(device, VFIO_DEVICE_PCI_HOT_RESET, buffer))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _groups(root: Path, step: HotReset) -> dict[Address, GroupName]:
    """The group of each device that may be hit; groups that are gone have none."""
    found: dict[Address, GroupName] = {}
    for name in step.groups:
        group = scan_group(root, name.number)
        if group is not None and group.generation == name.generation:
            found |= dict.fromkeys(group.members, name)
    return found


def _present(root: Path, address: Address, generation: int) -> bool:
    try:
        with Directory(pci_directory(root) / address.name) as directory:
            return directory.generation == generation
    except FileNotFoundError:
        return False
    except UnreadableError as error:
        raise refused_by_kernel(f"cannot read {address}", error.errno) from error
