"""Groups and the type1 container: claiming a group, and opening what a client gets."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from isod.kernel.refusal import group_gone, held_outside, refused_by_kernel
from isod.kernel.scan_group import groups_directory, scan_group
from isod.kernel.tree import Directory, UnreadableError
from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import GroupName, OpenFile, OpenGroup, StepResult

from .control import closing_on_error, control, retried
from .node import CONTAINER, group_node, open_node
from .uapi.vfio import (
    VFIO_GROUP_FLAGS_VIABLE,
    VFIO_GROUP_GET_DEVICE_FD,
    VFIO_GROUP_GET_STATUS,
    VFIO_GROUP_SET_CONTAINER,
    VFIO_NOIOMMU_IOMMU,
    VFIO_SET_IOMMU,
    VFIO_TYPE1v2_IOMMU,
    vfio_group_status,
)
from .viability import firmware_refusal, viability_refusal

_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO}


def check_group(root: Path, group: GroupName) -> None:
    """Raises RefusedError unless the number still means the same group: gone, or kernel where that
    cannot be told."""
    try:
        with Directory(groups_directory(root) / str(group.number)) as directory:
            if directory.generation == group.generation:
                return
    except FileNotFoundError:
        pass
    except UnreadableError as error:
        raise refused_by_kernel(f"cannot read group {group.number}", error.errno) from error
    raise group_gone(group)


def open_group(root: Path, group: GroupName) -> int:
    """Open a group's node; the caller closes it. Raises RefusedError: gone, held_outside."""
    check_group(root, group)
    try:
        return open_node(root, group_node(root, group.number))
    except OSError as error:
        number = error.errno or errno.EIO
        if number == errno.EBUSY:
            raise held_outside(f"group {group.number}", number) from error
        if number in _GONE:
            raise group_gone(group) from error
        raise refused_by_kernel(f"cannot open group {group.number}", number) from error


def group_is_busy(root: Path, group: GroupName) -> bool:
    """Whether somebody has the group open. A group that is gone is not busy; one that cannot be
    opened for another reason is. A free group is open for a moment: its watch sees one close."""
    try:
        check_group(root, group)
        os.close(open_node(root, group_node(root, group.number)))
    except RefusedError as error:
        return error.refusal.reason is not Reason.gone
    except OSError as error:
        return error.errno not in _GONE
    return False


def check_viable(root: Path, group: GroupName, descriptor: int) -> None:
    """Raises RefusedError (not_viable) when GET_STATUS says so."""
    status = vfio_group_status(argsz=8)
    try:
        control(descriptor, VFIO_GROUP_GET_STATUS, status)
    except OSError as error:
        raise refused_by_kernel(
            f"cannot ask for the state of group {group.number}", error.errno or errno.EIO
        ) from error
    if not status.flags & VFIO_GROUP_FLAGS_VIABLE:
        raise viability_refusal(root, group)


def open_container(root: Path) -> int:
    """Open a container; the caller closes it. Raises RefusedError."""
    try:
        return open_node(root, CONTAINER)
    except OSError as error:
        raise RefusedError(
            Reason.unsupported, f"no VFIO container: {error.strerror}", errno=error.errno
        ) from error


def claim(root: Path, container: int, groups: Sequence[tuple[GroupName, int]]) -> None:
    """Put open groups into a container and set its IOMMU up.

    Raises RefusedError: not_viable (EPERM at SET_CONTAINER), no_isolated_msi (EPERM at
    SET_IOMMU), firmware_mapping (EINVAL and the group has 1:1 regions).
    """
    for group, descriptor in groups:
        argument = bytearray(struct.pack("i", container))
        try:
            control(descriptor, VFIO_GROUP_SET_CONTAINER, argument)
        except OSError as error:
            raise _claim_refusal(root, group, error, "SET_CONTAINER") from error
    kind = VFIO_NOIOMMU_IOMMU if _noiommu(root, groups) else VFIO_TYPE1v2_IOMMU
    try:
        control(container, VFIO_SET_IOMMU, kind)
    except OSError as error:
        raise _claim_refusal(root, groups[0][0], error, "SET_IOMMU") from error


def run_open_group(root: Path, step: OpenGroup) -> StepResult:
    """Open what the step names. Raises RefusedError; nothing stays open then."""
    with contextlib.ExitStack() as stack, closing_on_error(stack):
        container = open_container(root)
        stack.callback(os.close, container)
        opened = []
        for group in step.groups:
            descriptor = open_group(root, group)
            stack.callback(os.close, descriptor)
            check_viable(root, group, descriptor)
            opened.append((group, descriptor))
        files = [OpenFile("container", container)]
        files += [OpenFile("group", descriptor, group=group.number) for group, descriptor in opened]
        if step.ready:
            claim(root, container, opened)
            for address in step.devices:
                device = open_device(root, address, opened)
                stack.callback(os.close, device)
                files.append(OpenFile("device", device, address=address))
    return StepResult(files=tuple(files))


def open_device(root: Path, address: Address, groups: Sequence[tuple[GroupName, int]]) -> int:
    """GET_DEVICE_FD from the group that has the device; the caller closes it.

    The kernel makes it close-on-exec (drivers/vfio/group.c). Raises RefusedError.
    """
    descriptor = _group_of(root, address, groups)
    name = bytearray(address.name.encode() + b"\0")
    try:
        return retried(lambda: control(descriptor, VFIO_GROUP_GET_DEVICE_FD, name))
    except OSError as error:
        raise refused_by_kernel(f"cannot open {address}", error.errno or errno.EIO) from error


def _group_of(root: Path, address: Address, groups: Sequence[tuple[GroupName, int]]) -> int:
    for group, descriptor in groups:
        found = scan_group(root, group.number)
        if found is not None and address in found.members:
            return descriptor
    raise RefusedError(Reason.gone, f"{address} is in none of the groups")


def _noiommu(root: Path, groups: Sequence[tuple[GroupName, int]]) -> bool:
    return all("noiommu" in group_node(root, group.number) for group, _ in groups)


def _claim_refusal(root: Path, group: GroupName, error: OSError, what: str) -> RefusedError:
    number = error.errno or errno.EIO
    if number == errno.EPERM and what == "SET_CONTAINER":
        return viability_refusal(root, group)
    if number == errno.EPERM:
        return RefusedError(
            Reason.no_isolated_msi, "the platform does not isolate interrupts", errno=number
        )
    if number == errno.EINVAL:
        refusal = firmware_refusal(root, group)
        if refusal is not None:
            return refusal
    return refused_by_kernel(f"{what} of group {group.number}", number)
