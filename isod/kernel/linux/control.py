"""Ioctls with their errors, and the few that may be tried again."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import TypeVar

Result = TypeVar("Result")

_AGAIN_SECONDS = 2.0
_PAUSE_SECONDS = 0.01


def control(descriptor: int, request: int, argument: ctypes.Structure | bytearray | int = 0) -> int:
    """An ioctl; a structure or buffer is read and written in place. Raises OSError."""
    result: int
    if isinstance(argument, int):
        result = fcntl.ioctl(descriptor, request, argument)
    else:
        result = fcntl.ioctl(descriptor, request, argument, True)
    return result


def retried(act: Callable[[], Result]) -> Result:
    """Do an act that ends in EAGAIN while a device's lock is contended (drivers/vfio/group.c,
    device_cdev.c); again for two seconds at most. Raises OSError."""
    deadline = monotonic() + _AGAIN_SECONDS
    while True:
        try:
            return act()
        except OSError as error:
            if error.errno != errno.EAGAIN or monotonic() > deadline:
                raise
        sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def closing_on_error(opened: contextlib.ExitStack) -> Iterator[contextlib.ExitStack]:
    """Close everything in the stack if the block fails; else leave it open for the caller."""
    with opened:
        yield opened
        opened.pop_all()
