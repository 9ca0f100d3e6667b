"""Resets that a client runs on its device fds (drivers/vfio/pci/vfio_pci_core.c)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from .called import called, identify
from .device_open import refuse_locked
from .failure import failure
from .faults import reset_fault
from .host import Host
from .pci import ResetScope, function_reset_works, reset_scope, set_name
from .records import DeviceFile, GroupFile
from .resets import log_reset

OWNED = 0
NOT_OWNED = -1


@dataclass(frozen=True, slots=True)
class Dependent:
    """A function that a hot reset hits: ``group`` for callers by group, ``devid`` by cdev."""

    device: str
    group: int | None = None
    devid: int | None = None


@dataclass(frozen=True, slots=True)
class HotResetInfo:
    """What GET_PCI_HOT_RESET_INFO says. ``owned`` is None for callers by group."""

    dependents: tuple[Dependent, ...]
    owned: bool | None = None

    @property
    def by_devid(self) -> bool:
        """The flag DEV_ID."""
        return self.owned is not None


class NoSpaceError(OSError):
    """ENOSPC: the caller's array is too small. ``count`` entries are needed."""

    def __init__(self, count: int) -> None:
        super().__init__(errno.ENOSPC, f"room for {count} is needed")
        self.count = count


def device_reset(device: int) -> None:
    """VFIO_DEVICE_RESET. Raises EINVAL before BIND and where no function reset works, EAGAIN
    during a pending unbind, ENOTTY if it works no more."""
    with called(device, DeviceFile) as file:
        host, record = file.host, file.record
        if not record.granted or not record.reset_works:
            raise failure(errno.EINVAL, "not bound, or no function reset")
        if not host.tree.attribute(record.device, "reset_method"):
            raise failure(errno.ENOTTY, "no reset method")
        refuse_locked(host, record.device)
        if not function_reset_works(host, record.device):
            raise failure(errno.ENOTTY, "the reset failed")
        log_reset(host, "function", record.device, "ioctl")


def hot_reset_info(device: int, room: int | None = None) -> HotResetInfo:
    """VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, with room for so many entries (None: enough).

    Raises EINVAL before BIND, ENODEV where there is no hot reset, NoSpaceError (ENOSPC), EPERM
    for a caller by group when a function has no group.
    """
    with called(device, DeviceFile) as file:
        host, record = file.host, file.record
        scope = _scope(host, record)
        if room is not None and len(scope.functions) > room:
            raise NoSpaceError(len(scope.functions))
        if record.iommufd is None:
            return HotResetInfo(tuple(_by_group(host, name) for name in scope.functions))
        found = tuple(
            Dependent(name, devid=_devid(host, scope, name, record.iommufd))
            for name in scope.functions
        )
        return HotResetInfo(found, all(one.devid != NOT_OWNED for one in found))


def hot_reset(device: int, groups: Sequence[int] = ()) -> None:
    """VFIO_DEVICE_PCI_HOT_RESET with these group fds (none on a cdev).

    Raises EINVAL before BIND, for fds on a cdev or none on a group, too many fds, one that is
    no group's, or any function of the set that is not the caller's; ENODEV where there is no
    hot reset; EBADF; EAGAIN while a device's lock is held; ENOTTY when the reset itself failed.
    """
    with called(device, DeviceFile) as file:
        host, record = file.host, file.record
        if not record.granted or bool(groups) == (record.iommufd is not None):
            raise failure(errno.EINVAL, "not bound, or the wrong fds")
        scope = _scope(host, record)
        if len(groups) > len(scope.functions):
            raise failure(errno.EINVAL, "more groups than functions")
        given = [identify(host, group, GroupFile, errno.EINVAL).record for group in groups]
        if not all(_in_set(host, scope, name) for name in scope.functions):
            raise failure(errno.EINVAL, "a function is on no vfio driver, or in another set")
        for name in scope.functions:
            if record.iommufd is not None:
                owned = _devid(host, scope, name, record.iommufd) != NOT_OWNED
            else:
                owned = any(_holds(host, group, name) for group in given)
            if not owned:
                raise failure(errno.EINVAL, f"{name} is not the caller's")
        for name in scope.functions:
            refuse_locked(host, name)
        number = reset_fault(host.tree, scope.functions)
        if number:
            raise failure(number, "a simulated fault")
        for name in scope.functions:
            log_reset(host, "hot", name, "ioctl")
        if scope.fails:
            raise failure(errno.ENOTTY, "the reset failed")


def _scope(host: Host, record: DeviceFile) -> ResetScope:
    if not record.granted:
        raise failure(errno.EINVAL, "not bound")
    scope = reset_scope(host, record.device)
    if scope is None:
        raise failure(errno.ENODEV, "neither slot nor bus can be reset")
    return scope


def _by_group(host: Host, name: str) -> Dependent:
    group = host.tree.group(name)
    if group is None:
        raise failure(errno.EPERM, f"{name} has no group")
    return Dependent(name, group=group)


def _in_set(host: Host, scope: ResetScope, name: str) -> bool:
    """Whether vfio has the function in the set that is to be reset: on a vfio driver, and
    counted to that set. One whose unbind is pending still is."""
    return host.on_vfio(name) and set_name(host, name) == scope.set_name


def _devid(host: Host, scope: ResetScope, name: str, iommufd: str) -> int:
    """The function's id on the caller's iommufd, OWNED if its group is, else NOT_OWNED."""
    group = host.tree.group(name)
    if group is None or not _in_set(host, scope, name):
        return NOT_OWNED
    files = [opened.record for opened in host.files(group) if isinstance(opened.record, DeviceFile)]
    for record in files:
        if record.device == name and record.iommufd == iommufd:
            return record.devid
    return OWNED if any(record.iommufd == iommufd for record in files) else NOT_OWNED


def _holds(host: Host, group: GroupFile, name: str) -> bool:
    return (
        name in host.tree.members(group.number)
        and host.incarnation(group.number) == group.incarnation
    )
