"""The steps that open files, and the probe that looks whether opening would do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from isod.kernel.refusal import gone, group_gone, held_outside, refused_by_kernel
from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import GroupName, OpenFile, OpenGroup, OpenIommufd, Probe, StepResult

from .cdev_calls import bind_iommufd
from .entry import entered
from .fence import finish_pending
from .group_calls import NOIOMMU, TYPE1V2, get_device_fd, get_status, set_container, set_iommu
from .host import Host
from .nodes import open_container, take_cdev, take_group, take_iommufd, why_busy
from .ownership import firmware_mappings, owner
from .refusal import firmware_mapping, no_isolated_msi, not_viable
from .steps import check_group
from .tree import names_in

_CONTAINER_MISSING = "this kernel has no container of its own: its groups are not exclusive"


def run_probe(host: Host, step: Probe) -> StepResult:
    """Look whether a group can be owned now. Raises RefusedError; everything is closed again."""
    number = step.group.number
    by_group = step.hand_over in {"group", "nodes"}
    with entered(host):
        check_group(host, step.group)
        finish_pending(host, number)
        there = host.incarnation(number) is not None
        if there and why_busy(host, number) is not None:
            raise held_outside(f"group {number}", errno.EBUSY)
        if step.held_only:
            return StepResult()
        if by_group and not host.machine.container:
            raise RefusedError(
                Reason.unsupported, _CONTAINER_MISSING, hint="ask for hand_over iommufd"
            )
        if by_group and not there:
            raise group_gone(step.group)
        if there and owner(host, number) is not None:
            raise not_viable(host, step.group, errno.EPERM)
    if step.full and by_group:
        close_all(_open_group(host, OpenGroup(groups=(step.group,), devices=())))
    elif step.full:
        _bind_privately(host, step)
    return StepResult()


def run_open_iommufd(host: Host, step: OpenIommufd) -> StepResult:
    """Open an iommufd and cdevs. Raises RefusedError; nothing stays open then."""
    files: list[OpenFile] = []
    with _closing_on_error(files), entered(host):
        if step.iommufd:
            files.append(OpenFile("iommufd", _iommufd(host)))
        for address in step.devices:
            device = _cdev(host, address)
            files.append(OpenFile("device", device, address=address, state="unbound"))
    return StepResult(files=tuple(files))


def run_open_group(host: Host, step: OpenGroup) -> StepResult:
    """Open a container, groups and devices. Raises RefusedError; nothing stays open then."""
    if not host.machine.container:
        raise RefusedError(Reason.unsupported, _CONTAINER_MISSING, hint="ask for hand_over iommufd")
    return StepResult(files=tuple(_open_group(host, step)))


def close_all(files: Sequence[OpenFile]) -> None:
    """Close what was opened, in order."""
    for file in files:
        os.close(file.descriptor)


def _open_group(host: Host, step: OpenGroup) -> list[OpenFile]:
    files: list[OpenFile] = []
    with _closing_on_error(files):
        files.append(OpenFile("container", open_container(host.tree.root)))
        for group in step.groups:
            files.append(OpenFile("group", open_group_file(host, group), group=group.number))
            if not get_status(files[-1].descriptor).viable:
                raise not_viable(host, group, errno.EPERM)
        if step.ready:
            _claim(host, step, files)
            for address in step.devices:
                device = _device(host, address, files)
                files.append(OpenFile("device", device, address=address))
    return files


def open_group_file(host: Host, group: GroupName) -> int:
    """Open a group; the fd is the caller's. Raises RefusedError: gone, held_outside."""
    try:
        with entered(host):
            check_group(host, group)
            return take_group(host, group.number)
    except OSError as error:
        number = error.errno or errno.EIO
        if number == errno.EBUSY:
            raise held_outside(f"group {group.number}", number) from error
        if number == errno.ENOENT:
            raise group_gone(group) from error
        raise refused_by_kernel(f"cannot open group {group.number}", number) from error


def _claim(host: Host, step: OpenGroup, files: list[OpenFile]) -> None:
    container = files[0].descriptor
    for group, file in zip(step.groups, files[1:], strict=False):
        try:
            set_container(file.descriptor, container)
        except OSError as error:
            raise _claim_refusal(host, group, error) from error
    fake = all((host.tree.vfio / f"noiommu-{group.number}").exists() for group in step.groups)
    try:
        set_iommu(container, NOIOMMU if fake else TYPE1V2)
    except OSError as error:
        if error.errno == errno.EPERM and not fake:
            raise no_isolated_msi(errno.EPERM) from error
        raise refused_by_kernel("SET_IOMMU", error.errno or errno.EIO) from error


def _claim_refusal(host: Host, group: GroupName, error: OSError) -> RefusedError:
    number = error.errno or errno.EIO
    if number == errno.EPERM:
        return not_viable(host, group, number)
    if number == errno.EINVAL and firmware_mappings(host, group.number):
        return firmware_mapping(group, number)
    return refused_by_kernel(f"SET_CONTAINER of group {group.number}", number)


def _device(host: Host, address: Address, files: list[OpenFile]) -> int:
    number = host.tree.group(address.name)
    for file in files:
        if file.role == "group" and file.group == number:
            try:
                return get_device_fd(file.descriptor, address.name)
            except OSError as error:
                what = f"cannot open {address}"
                raise refused_by_kernel(what, error.errno or errno.EIO) from error
    raise RefusedError(Reason.gone, f"{address} is in none of the groups")


def _iommufd(host: Host) -> int:
    try:
        return take_iommufd(host, per_process=True)
    except OSError as error:
        raise RefusedError(
            Reason.unsupported, f"no IOMMUFD: {error.strerror}", errno=error.errno
        ) from error


def _cdev(host: Host, address: Address) -> int:
    try:
        names = names_in(host.tree.devices / address.name / "vfio-dev")
    except FileNotFoundError:
        names = []
    if not names:
        if host.tree.directory(address.name) is None:
            raise gone(address)
        raise RefusedError(Reason.unsupported, f"{address} has no device cdev")
    try:
        return take_cdev(host, names[0])
    except OSError as error:
        number = error.errno or errno.EIO
        if number == errno.ENOENT:
            raise gone(address) from error
        raise refused_by_kernel(f"cannot open {names[0]} of {address}", number) from error


def _bind_privately(host: Host, step: Probe) -> None:
    """Bind a member to an iommufd of our own and let both go. It resets the function."""
    files = run_open_iommufd(host, OpenIommufd(devices=(step.device,))).files
    try:
        bind_iommufd(files[1].descriptor, files[0].descriptor)
    except OSError as error:
        raise _bind_refusal(host, step, error) from error
    finally:
        close_all(files)


def _bind_refusal(host: Host, step: Probe, error: OSError) -> RefusedError:
    number = error.errno or errno.EIO
    if number == errno.EBUSY:
        return held_outside(f"group {step.group.number}", number)
    with entered(host):
        taken = owner(host, step.group.number) is not None
        firmware = firmware_mappings(host, step.group.number)
    if number == errno.EPERM:
        return not_viable(host, step.group, number) if taken else no_isolated_msi(number)
    if number == errno.EINVAL:
        return (
            firmware_mapping(step.group, number)
            if firmware
            else held_outside(str(step.device), number)
        )
    return refused_by_kernel(f"cannot bind {step.device} to an iommufd", number)


@contextmanager
def _closing_on_error(files: list[OpenFile]) -> Iterator[None]:
    try:
        yield
    except (OSError, RefusedError):
        close_all(files)
        raise
