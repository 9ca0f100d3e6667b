"""The ioctls of device cdevs and iommufds (drivers/vfio/device_cdev.c, drivers/iommu/iommufd)."""

from __future__ import annotations

import errno

from . import opens
from .called import Called, called, identify
from .device_open import first_open
from .failure import failure
from .ownership import claim
from .records import DeviceFile, Iommufd


def bind_iommufd(device: int, iommufd: int) -> int:
    """VFIO_DEVICE_BIND_IOMMUFD; returns the devid.

    Raises EINVAL for a device that came from a group, is bound, or is open elsewhere, or where
    firmware forbids it; EBUSY while the group is open; EPERM for another owner of the group, a
    driver that manages DMA, or MSIs that are not isolated; EAGAIN while the device's lock is
    held; EBADF, EBADFD for no iommufd.
    """
    with called(device, DeviceFile) as file:
        host, record = file.host, file.record
        if iommufd < 0 or record.via is not None:
            raise failure(errno.EINVAL, "not a cdev, or no iommufd")
        if host.group_files(record.group):
            raise failure(errno.EBUSY, f"group {record.group} is open")
        if record.granted:
            raise failure(errno.EINVAL, "bound already")
        context = identify(host, iommufd, Iommufd, errno.EBADFD)
        if any(other.granted for _, other in host.device_files(record.device, record.group)):
            raise failure(errno.EINVAL, "the device is open elsewhere")
        if not host.machine.isolated_msi:
            raise failure(errno.EPERM, "the platform does not isolate MSIs")
        claim(host, record.group, context.name)
        works = first_open(host, record.device)
        bound = host.iommufd_devices(context.name, context.record)
        context.record.devices = {str(other.devid): name for name, other in bound}
        devid = _free_id(context.record)
        context.record.devices[str(devid)] = file.name
        context.save()
        record.iommufd, record.devid, record.reset_works = context.name, devid, works
        file.save()
        return devid


def attach(device: int, space: int) -> None:
    """VFIO_DEVICE_ATTACH_IOMMUFD_PT to an IOAS; attached again, it changes over, and with it what
    else of its group is attached (drivers/iommu/iommufd/device.c, iommufd_device_do_replace).

    Raises EINVAL before BIND, and for a device of a group that is attached to another IOAS;
    ENOTTY on a device of a group, ENOENT for no such IOAS.
    """
    with called(device, DeviceFile) as file:
        context = _bound(file)
        if str(space) not in context.spaces:
            raise failure(errno.ENOENT, f"no IOAS {space}")
        latest = _attached_last(file)
        if latest is not None:
            if file.record.attached is None and latest.attached != space:
                raise failure(errno.EINVAL, "the group is attached to another IOAS")
            file.record.attached_at = latest.attached_at + 1
        file.record.attached = space
        file.save()


def detach(device: int) -> None:
    """VFIO_DEVICE_DETACH_IOMMUFD_PT; nothing happens where nothing is attached. Errors: attach."""
    with called(device, DeviceFile) as file:
        _bound(file)
        file.record.attached = None
        file.save()


def ioas_alloc(iommufd: int) -> int:
    """IOMMU_IOAS_ALLOC; returns the id."""
    with called(iommufd, Iommufd) as file:
        bound = file.host.iommufd_devices(file.name, file.record)
        file.record.devices = {str(other.devid): name for name, other in bound}
        space = _free_id(file.record)
        file.record.spaces[str(space)] = []
        file.save()
        return space


def destroy(iommufd: int, identity: int) -> None:
    """IOMMU_DESTROY. Raises ENOENT for no such object, EBUSY for one in use (any device)."""
    with called(iommufd, Iommufd) as file:
        bound = file.host.iommufd_devices(file.name, file.record)
        if any(identity in (other.devid, other.attached) for _, other in bound):
            raise failure(errno.EBUSY, "in use")
        if file.record.spaces.pop(str(identity), None) is None:
            raise failure(errno.ENOENT, f"no object {identity}")
        file.save()


def set_rlimit_mode(iommufd: int, *, per_process: bool) -> None:
    """IOMMU_OPTION_RLIMIT_MODE. Raises EBUSY once the context holds anything."""
    with called(iommufd, Iommufd) as file:
        if file.record.spaces or file.host.iommufd_devices(file.name, file.record):
            raise failure(errno.EBUSY, "the context is not empty")
        file.record.per_process = per_process
        file.save()


def _attached_last(file: Called[DeviceFile]) -> DeviceFile | None:
    """Of the attached devices of the file's group the one that says to which IOAS they are."""
    records = (opened.record for opened in file.host.files(file.record.group))
    attached = [one for one in records if isinstance(one, DeviceFile) and one.attached is not None]
    return max(attached, key=lambda one: one.attached_at, default=None)


def _bound(file: Called[DeviceFile]) -> Iommufd:
    record = file.record
    if not record.granted:
        raise failure(errno.EINVAL, "not bound")
    if record.iommufd is None:
        raise failure(errno.ENOTTY, "the device came from a group")
    opened = opens.look(file.host.tree.opens, record.iommufd)
    if opened is None or not isinstance(opened.record, Iommufd):
        raise failure(errno.EIO, "the iommufd's file is gone from the host's directory")
    return opened.record


def _free_id(context: Iommufd) -> int:
    taken = {int(identity) for identity in (*context.devices, *context.spaces)}
    return next(identity for identity in range(1, len(taken) + 2) if identity not in taken)
