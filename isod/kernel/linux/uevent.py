"""Kernel uevents over netlink: what changed among the devices."""

from __future__ import annotations

import errno
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from isod.kernel.tree import PCI_NAME
from isod.model.address import Address, BadAddressError
from isod.model.host import HostChange

_KOBJECT_UEVENT = 15
_KERNEL_EVENTS = 1
_BUFFER = 8 << 20
_PACKET = 16384
_CREDENTIALS = struct.Struct("3i")
_PATH = re.compile(r"/[^\0]{1,4000}")

_OF_A_DEVICE = frozenset({"pci", "vfio-dev", "mdev", "vdpa"})
_OF_EVERYTHING = frozenset({"iommu"})


@dataclass(frozen=True, slots=True)
class Uevent:
    """One event: ``action`` (add, remove, bind, unbind, change, move, …), ``path`` below /sys."""

    action: str
    path: str
    variables: dict[str, str] = field(default_factory=dict)


def parse_uevent(data: bytes) -> Uevent | None:
    """``ACTION@PATH``, then ``KEY=VALUE``, each ended by a zero byte (lib/kobject_uevent.c).

    None for anything else, udev's own messages ("libudev…") included.
    """
    try:
        parts = data.decode().split("\0")
    except UnicodeDecodeError:
        return None
    action, separator, path = parts[0].partition("@")
    if not separator or not action.isalpha() or not _PATH.fullmatch(path):
        return None
    variables = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
    return Uevent(action, path, variables)


def change_of(event: Uevent) -> HostChange:
    """What to look at again after an event; nothing for events that show nothing of a Device.

    The group's node (subsystem ``vfio``) is followed by the device's own event, and groups have
    none. A change of IOMMUs or a renamed device changes anything.
    """
    subsystem = event.variables.get("SUBSYSTEM", "")
    if subsystem in _OF_EVERYTHING or (event.action == "move" and subsystem in _OF_A_DEVICE):
        return HostChange(rescan=True)
    if subsystem not in _OF_A_DEVICE:
        return HostChange()
    address = _address(subsystem, event.path)
    return HostChange() if address is None else HostChange(addresses=frozenset({address}))


def _address(subsystem: str, path: str) -> Address | None:
    parts = path.split("/")
    if subsystem == "vfio-dev":
        # …/0000:01:00.0/vfio-dev/vfio3: the device is the parent's parent.
        parts = parts[:-2]
    name = parts[-1] if parts else ""
    if PCI_NAME.fullmatch(name):
        return Address.pci(name)
    bus = "vdpa" if subsystem == "vdpa" else "mdev"
    try:
        return Address.parse(f"{bus}:{name}")
    except BadAddressError:
        return None


class UeventSocket:
    """A netlink socket that hears the kernel's events, and only the kernel's."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            _KOBJECT_UEVENT,
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._grow()
            self._socket.bind((0, _KERNEL_EVENTS))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> HostChange:
        """Everything that has come; does not block. A lost or over-long event means rescan."""
        addresses: set[Address] = set()
        rescan = False
        while True:
            try:
                data, control, flags, sender = self._socket.recvmsg(
                    _PACKET, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except BlockingIOError:
                return HostChange(addresses=frozenset(addresses), rescan=rescan)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    rescan = True
                    continue
                if error.errno == errno.EINTR:
                    continue
                raise
            if sender[0] != 0 or not _from_kernel(control):
                continue
            if flags & socket.MSG_TRUNC:
                rescan = True
                continue
            event = parse_uevent(data)
            if event is not None:
                change = change_of(event)
                addresses |= change.addresses
                rescan |= change.rescan

    def close(self) -> None:
        self._socket.close()

    def _grow(self) -> None:
        """A burst of hot-plug is thousands of events. Forcing needs CAP_NET_ADMIN."""
        force = getattr(socket, "SO_RCVBUFFORCE", 33)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, force, _BUFFER)
        except PermissionError:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def _from_kernel(control: list[tuple[int, int, bytes]]) -> bool:
    """The kernel's credentials are pid 0, uid 0, gid 0. No credentials: not the kernel."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return len(data) == _CREDENTIALS.size and _CREDENTIALS.unpack(data)[:2] == (0, 0)
    return False
