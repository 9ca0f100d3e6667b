"""The ioctls of groups and containers (drivers/vfio/group.c, container.c, vfio_iommu_type1.c)."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from . import opens
from .called import CAP_SYS_RAWIO, Called, called, capable, identify
from .device_open import first_open
from .failure import failure
from .host import Host
from .ownership import claim, owner
from .records import Container, DeviceFile, GroupFile

TYPE1 = 1
TYPE1V2 = 3
NOIOMMU = 8


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """What GET_STATUS says. A group that is set in a container is viable."""

    viable: bool
    container_set: bool


def get_status(group: int) -> GroupStatus:
    """VFIO_GROUP_GET_STATUS. Raises ENODEV when the group has lost its last device."""
    with called(group, GroupFile) as file:
        _live(file)
        if file.record.container is not None:
            return GroupStatus(viable=True, container_set=True)
        free = owner(file.host, file.record.number) is None
        return GroupStatus(viable=free, container_set=False)


def set_container(group: int, container: int) -> None:
    """VFIO_GROUP_SET_CONTAINER.

    Raises EINVAL if it is set or firmware forbids it, EPERM for another owner, a driver that
    manages DMA, no-IOMMU without CAP_SYS_RAWIO or mixed with other groups, or MSIs that are not
    isolated, ENODEV for a group without devices, EBADF, EBADFD for another kind of file.
    """
    with called(group, GroupFile) as file:
        host, record = file.host, file.record
        opens.path_of(container)
        if record.container is not None and not _stale(file):
            raise failure(errno.EINVAL, "the group has a container")
        _live(file)
        found = identify(host, container, Container, errno.EBADFD)
        if record.noiommu and not capable(CAP_SYS_RAWIO):
            raise failure(errno.EPERM, "no-IOMMU needs CAP_SYS_RAWIO")
        others = _attached(host, found)
        if any(other.noiommu != record.noiommu for _, other in others):
            raise failure(errno.EPERM, "real and fake groups do not mix")
        if not record.noiommu:
            claim(host, record.number, file.name)
        if found.record.iommu is not None and not record.noiommu:
            _need_isolated_msi(host)
        found.record.groups = [*(name for name, _ in others), file.name]
        found.save()
        record.container = found.name
        file.save()


def unset_container(group: int) -> None:
    """VFIO_GROUP_UNSET_CONTAINER. Raises EINVAL without one, EBUSY while a device is open."""
    with called(group, GroupFile) as file:
        if file.record.container is None or _stale(file):
            raise failure(errno.EINVAL, "the group has no container")
        if _users(file):
            raise failure(errno.EBUSY, "a device of the group is open")
        file.record.container = None
        file.save()


def set_iommu(container: int, kind: int = TYPE1V2) -> None:
    """VFIO_SET_IOMMU.

    Raises EINVAL without groups or if it is set, ENODEV for a type that does not fit, EPERM
    for MSIs that are not isolated or no-IOMMU without CAP_SYS_RAWIO.
    """
    with called(container, Container) as file:
        groups = _attached(file.host, file)
        if not groups or file.record.iommu is not None:
            raise failure(errno.EINVAL, "no groups, or set already")
        if groups[0][1].noiommu:
            if kind != NOIOMMU:
                raise failure(errno.ENODEV, "only type 8 fits no-IOMMU groups")
            if not capable(CAP_SYS_RAWIO):
                raise failure(errno.EPERM, "no-IOMMU needs CAP_SYS_RAWIO")
        elif kind not in (TYPE1, TYPE1V2):
            raise failure(errno.ENODEV, "no such IOMMU type")
        else:
            _need_isolated_msi(file.host)
        file.record.iommu = kind
        file.save()


def get_device_fd(group: int, device: str) -> int:
    """VFIO_GROUP_GET_DEVICE_FD, by PCI name; the fd is the caller's.

    Raises ENODEV for a device that is not of the group or not on vfio, EINVAL without
    container and IOMMU, EPERM for no-IOMMU without CAP_SYS_RAWIO at the first open, EAGAIN
    while the device's lock is held.
    """
    with called(group, GroupFile) as file:
        host, record = file.host, file.record
        number = record.number
        registered = (
            not _stale(file)
            and device in host.tree.members(number)
            and host.machine.kind(host.tree.driver(device)) == "vfio"
            and not host.pending(device)
        )
        if not registered:
            raise failure(errno.ENODEV, f"{device} is no vfio device of group {number}")
        if record.container is None:
            raise failure(errno.EINVAL, "the group has no container")
        same = [other for _, other in host.device_files(device, number) if other.granted]
        if same:
            works = same[0].reset_works
        else:
            container = host.context(record.container, Container)
            if container is None or container.iommu is None:
                raise failure(errno.EINVAL, "the container has no IOMMU")
            if record.noiommu and not capable(CAP_SYS_RAWIO):
                raise failure(errno.EPERM, "no-IOMMU needs CAP_SYS_RAWIO")
            works = first_open(host, device)
        opened = DeviceFile(device, number, via=file.name, reset_works=works)
        node = f"noiommu-{number}" if record.noiommu else number
        return host.open(str(number), f"device-{node}", opened)


def _stale(file: Called[GroupFile]) -> bool:
    """Whether the group lost its last device since it was opened: its number may mean another."""
    return file.host.incarnation(file.record.number) != file.record.incarnation


def _live(file: Called[GroupFile]) -> None:
    if _stale(file):
        raise failure(errno.ENODEV, "the group has lost its last device")


def _users(file: Called[GroupFile]) -> list[DeviceFile]:
    return [
        opened.record
        for opened in file.host.files(file.record.number)
        if isinstance(opened.record, DeviceFile) and opened.record.via == file.name
    ]


def _attached(host: Host, container: Called[Container]) -> list[tuple[str, GroupFile]]:
    """The groups in a container. When the last one has left, it is as it was when opened."""
    groups = host.container_groups(container.name, container.record)
    if not groups:
        container.record.iommu = None
        container.record.mappings = []
    return groups


def _need_isolated_msi(host: Host) -> None:
    if not host.machine.isolated_msi:
        raise failure(errno.EPERM, "the platform does not isolate MSIs")
