"""Socket options of any length: Python's own getsockopt takes 1,024 bytes at most, and a peer may
be in 65,536 groups."""

from __future__ import annotations

import ctypes
import os
import socket

_LIBRARY = ctypes.CDLL(None, use_errno=True)


def socket_option(descriptor: int, option: int, size: int) -> bytes:
    """An option of a socket (SOL_SOCKET), of ``size`` bytes at most. Raises OSError: ENOPROTOOPT
    where the kernel has none such, ERANGE for one that is longer."""
    value = ctypes.create_string_buffer(size)
    length = ctypes.c_uint(size)
    if _LIBRARY.getsockopt(descriptor, socket.SOL_SOCKET, option, value, ctypes.byref(length)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return value.raw[: length.value]
