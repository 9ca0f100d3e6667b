"""seccomp's user notification: a process's system calls wait until another lets them go.

seccomp_unotify(2). A call that waits has not begun; a process killed while it waits never makes it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from dataclasses import dataclass

_SYS_SECCOMP = 317
_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5  # the second since 5.19
_PR_SET_NO_NEW_PRIVS = 38
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_RECEIVE = 0xC0000000 | _NOTIFICATION.size << 16 | 0x21 << 8 | 0
_SEND = 0xC0000000 | _RESPONSE.size << 16 | 0x21 << 8 | 1
_CONTINUE = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that waits: of which thread, its number and arguments."""

    cookie: int
    thread: int
    number: int
    arguments: tuple[int, ...]


def listen(program: bytes) -> int:
    """Put this thread and all that come of it under a filter; the listener's fd. Raises OSError."""
    if platform.machine() != "x86_64":
        raise OSError(errno.ENOSYS, "the filter is written for x86-64")
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    given = _Program(len(program) // 8, program)
    flags = _NEW_LISTENER | _WAIT_KILLABLE
    found: int = libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, flags, ctypes.byref(given))
    if found < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return found


def receive(listener: int) -> Call | None:
    """The next call that waits; None if its thread has ended meanwhile."""
    room = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, room)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EINTR}:
            return None
        raise
    cookie, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(room)
    return Call(cookie, thread, number, tuple(arguments))


def let_go(listener: int, call: Call) -> None:
    """Let the call happen. Its thread may have ended meanwhile."""
    try:
        fcntl.ioctl(listener, _SEND, _RESPONSE.pack(call.cookie, 0, 0, _CONTINUE))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
