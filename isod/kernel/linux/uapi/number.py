"""How an ioctl without a direction is numbered (include/uapi/asm-generic/ioctl.h, ``_IO``)."""

from __future__ import annotations

import os

_NONE_IS_ONE = ("alpha", "mips", "ppc", "powerpc", "sparc")


def io(kind: str, number: int) -> int:
    """``_IO(kind, number)``. A few machines mark "no direction" with a bit of its own."""
    direction = 1 << 29 if os.uname().machine.startswith(_NONE_IS_ONE) else 0
    return direction | ord(kind) << 8 | number
