"""The system calls that change something outside the process, as a seccomp filter for x86-64.

Reading changes nothing, so a kill at a read is a kill at the next call in here: opens are in if
they may write or create. Not in: ``close`` and locks (a killed process closes everything, and with
that its locks go), threads, and what stays within the process: the byte with which trio wakes its
own loop, and asking what kind of file a descriptor is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from types import MappingProxyType

# arch/x86/entry/syscalls/syscall_64.tbl
ALWAYS: Mapping[int, str] = MappingProxyType(
    {
        1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev", 328: "pwritev2",
        40: "sendfile", 275: "splice", 276: "tee", 326: "copy_file_range",
        42: "connect", 48: "shutdown", 49: "bind", 50: "listen", 307: "sendmmsg",
        57: "fork", 58: "vfork", 59: "execve", 322: "execveat",
        62: "kill", 200: "tkill", 234: "tgkill", 424: "pidfd_send_signal",
        76: "truncate", 77: "ftruncate", 285: "fallocate", 85: "creat",
        82: "rename", 264: "renameat", 316: "renameat2",
        83: "mkdir", 258: "mkdirat", 84: "rmdir",
        86: "link", 265: "linkat", 88: "symlink", 266: "symlinkat",
        87: "unlink", 263: "unlinkat", 133: "mknod", 259: "mknodat",
        90: "chmod", 91: "fchmod", 268: "fchmodat", 452: "fchmodat2",
        92: "chown", 93: "fchown", 94: "lchown", 260: "fchownat",
        132: "utime", 235: "utimes", 261: "futimesat", 280: "utimensat",
        188: "setxattr", 189: "lsetxattr", 190: "fsetxattr",
        197: "removexattr", 198: "lremovexattr", 199: "fremovexattr",
        160: "setrlimit", 437: "openat2",
    }
)  # fmt: skip
# The same, but only with certain arguments: see ``_conditional``.
SOMETIMES: Mapping[int, str] = MappingProxyType(
    {
        2: "open", 257: "openat", 44: "sendto", 46: "sendmsg",
        302: "prlimit64", 16: "ioctl", 56: "clone",
    }
)  # fmt: skip
NAMES: Mapping[int, str] = MappingProxyType({**ALWAYS, **SOMETIMES})

# The descriptor on which the filter's own listener leaves the process: nobody could let it go.
HANDED = 1000

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_ASKING = (0x5401, 0x5413, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONBIO, FIO(N)CLEX
_CLONE_THREAD = 0x10000

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant (linux/filter.h)."""


def program() -> bytes:
    """The filter: an array of ``struct sock_filter``."""
    instructions: list[Instruction] = [(_LOAD, 0, 0, 0)]
    for number in ALWAYS:
        instructions += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _NOTIFY)]
    for number, block in _conditional().items():
        instructions += [(_EQUAL, 0, len(block), number), *block]
    instructions.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)


def _conditional() -> Mapping[int, list[Instruction]]:
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    return {
        2: [_argument(1), (_ANY_BIT, 0, 1, writing), *_notify_else_allow()],
        257: [_argument(2), (_ANY_BIT, 0, 1, writing), *_notify_else_allow()],
        16: _none_of(1, _ASKING),
        44: [_argument(2), (_EQUAL, 1, 0, 1), *_notify_else_allow()],
        46: [_argument(0), (_EQUAL, 1, 0, HANDED), *_notify_else_allow()],
        302: [_argument(2), (_EQUAL, 1, 0, 0), *_notify_else_allow()],
        56: [_argument(0), (_ANY_BIT, 1, 0, _CLONE_THREAD), *_notify_else_allow()],
    }


def _argument(number: int) -> Instruction:
    """The lower half of an argument (struct seccomp_data)."""
    return (_LOAD, 0, 0, 16 + 8 * number)


def _none_of(number: int, values: tuple[int, ...]) -> list[Instruction]:
    """Notify unless an argument has one of these values."""
    tests = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(number), *tests, *_notify_else_allow()]


def _notify_else_allow() -> list[Instruction]:
    return [(_RETURN, 0, 0, _NOTIFY), (_RETURN, 0, 0, _ALLOW)]
