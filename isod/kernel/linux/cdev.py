"""Device cdevs and iommufd: opening them for a client, and binding one privately to look."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from isod.kernel.refusal import gone, refused_by_kernel
from isod.kernel.scan import pci_directory
from isod.kernel.scan_device import read_cdev
from isod.kernel.tree import Directory, UnreadableError
from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import OpenFile, OpenIommufd, StepResult

from .control import closing_on_error, control, retried
from .node import IOMMUFD, cdev_node, open_node
from .uapi.iommufd import (
    IOMMU_OPTION,
    IOMMU_OPTION_OP_SET,
    IOMMU_OPTION_RLIMIT_MODE,
    iommu_option,
)
from .uapi.vfio import VFIO_DEVICE_BIND_IOMMUFD, vfio_device_bind_iommufd

_BIND_SIZE = 16


def open_iommufd(root: Path) -> int:
    """A new, empty iommufd; the caller closes it. Raises RefusedError."""
    try:
        return open_node(root, IOMMUFD)
    except OSError as error:
        raise RefusedError(
            Reason.unsupported, f"no IOMMUFD: {error.strerror}", errno=error.errno
        ) from error


def open_cdev(root: Path, address: Address) -> int:
    """Open a device's cdev, unbound; the caller closes it. Raises RefusedError."""
    try:
        with Directory(pci_directory(root) / address.name) as directory:
            name = read_cdev(directory)
    except FileNotFoundError as error:
        raise gone(address) from error
    except UnreadableError as error:
        raise refused_by_kernel(f"cannot read {address}", error.errno) from error
    if name is None:
        raise RefusedError(Reason.unsupported, f"{address} has no device cdev")
    try:
        return open_node(root, cdev_node(name))
    except OSError as error:
        number = error.errno or errno.EIO
        if number in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
            raise gone(address) from error
        raise refused_by_kernel(f"cannot open {name} of {address}", number) from error


def account_by_process(iommufd: int) -> str | None:
    """Let an empty iommufd charge the mapping process instead of its user (needs
    CAP_SYS_RESOURCE; drivers/iommu/iommufd/ioas.c). A warning when the kernel refuses."""
    argument = iommu_option(
        size=24, option_id=IOMMU_OPTION_RLIMIT_MODE, op=IOMMU_OPTION_OP_SET, val64=1
    )
    try:
        control(iommufd, IOMMU_OPTION, argument)
    except OSError as error:
        return (
            "pinned memory is charged to the user, not to the process: "
            f"{os.strerror(error.errno or errno.EIO)}"
        )
    return None


def bind_cdev(device: int, iommufd: int) -> None:
    """VFIO_DEVICE_BIND_IOMMUFD. Raises OSError."""
    argument = vfio_device_bind_iommufd(argsz=_BIND_SIZE, iommufd=iommufd)
    retried(lambda: control(device, VFIO_DEVICE_BIND_IOMMUFD, argument))


def bind_privately(root: Path, address: Address) -> None:
    """Bind a device to an iommufd of our own and let both go. Raises OSError from the bind
    (with the kernel's errno) and RefusedError from the opens. Resets the function."""
    iommufd = open_iommufd(root)
    try:
        device = open_cdev(root, address)
        try:
            bind_cdev(device, iommufd)
        finally:
            os.close(device)
    finally:
        os.close(iommufd)


def run_open_iommufd(root: Path, step: OpenIommufd) -> StepResult:
    """Open what the step names. Raises RefusedError; nothing stays open then."""
    files = []
    warnings = []
    with contextlib.ExitStack() as stack, closing_on_error(stack):
        if step.iommufd:
            iommufd = open_iommufd(root)
            stack.callback(os.close, iommufd)
            files.append(OpenFile("iommufd", iommufd))
            warning = account_by_process(iommufd)
            if warning is not None:
                warnings.append(warning)
        for address in step.devices:
            device = open_cdev(root, address)
            stack.callback(os.close, device)
            files.append(OpenFile("device", device, address=address, state="unbound"))
    return StepResult(files=tuple(files), warnings=tuple(warnings))
