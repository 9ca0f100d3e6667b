"""Socket options of any length: Python's own getsockopt takes 1,024 bytes at most, and a peer may
be in 65,536 groups."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

_LIBRARY = ctypes.CDLL(None, use_errno=True)
# Tried first: clearing room for everything takes longer than the call.
_USUAL_BYTES = 1024


def socket_option(descriptor: int, option: int, size: int) -> bytes:
    """An option of a socket (SOL_SOCKET), of ``size`` bytes at most. Raises OSError: ENOPROTOOPT
    where the kernel has none such, ERANGE for one that is longer."""
    room = min(size, _USUAL_BYTES)
    while True:
        value = ctypes.create_string_buffer(room)
        length = ctypes.c_uint(room)
        if not _LIBRARY.getsockopt(
            descriptor, socket.SOL_SOCKET, option, value, ctypes.byref(length)
        ):
            return value.raw[: length.value]
        error = ctypes.get_errno()
        if error != errno.ERANGE or room >= size:
            raise OSError(error, os.strerror(error))
        room = size
