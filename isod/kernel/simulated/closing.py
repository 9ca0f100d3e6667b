"""What the close of a file's last copy brings about."""

from __future__ import annotations

from .host import Host
from .pci import function_reset_works, reset_scope
from .records import DeviceFile
from .resets import log_reset


def let_close(host: Host) -> None:
    """Let the closes that were found take effect: the last close of each device in use.

    It clears ``enable``, and resets the function if that works, else the whole set if nothing
    else of it is open. A close during a pending unbind resets nothing.
    """
    while host.closed:
        record = host.closed.pop()
        if isinstance(record, DeviceFile) and record.granted:
            more = any(
                isinstance(other, DeviceFile) and other.granted and other.device == record.device
                for other in host.closed
            )
            if not more and not in_use(host, record.device, record.group):
                _last_close(host, record)


def in_use(host: Host, device: str, group: int) -> bool:
    """Whether a device is open through its group, or as a cdev that is bound."""
    return any(record.granted for _, record in host.device_files(device, group))


def show_enabled(host: Host, group: int) -> None:
    """Make ``enable`` of a group's vfio devices agree with their open files.

    It does, unless a program was killed between the two.
    """
    for name in host.tree.members(group):
        if host.on_vfio(name):
            host.tree.set_enabled(name, int(in_use(host, name, group)))


def _last_close(host: Host, record: DeviceFile) -> None:
    device = record.device
    host.tree.set_enabled(device, 0)
    if host.pending(device):
        return
    if record.reset_works and function_reset_works(host, device):
        log_reset(host, "function", device, "close")
    else:
        _try_hot_reset(host, device)


def _try_hot_reset(host: Host, device: str) -> None:
    scope = reset_scope(host, device)
    if scope is None or scope.fails:
        return
    for name in scope.functions:
        group = host.tree.group(name)
        if group is None or not host.on_vfio(name):
            return
        if in_use(host, name, group):
            return
    for name in scope.functions:
        log_reset(host, "hot", name, "close")
