"""inotify, which Python does not offer: three calls of libc."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000
IN_ONLYDIR = 0x01000000

_EVENT = struct.Struct("iIII")


@dataclass(frozen=True, slots=True)
class Happened:
    """One event: the watch it came by, its mask, and the name in the watched directory."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify fd, non-blocking."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: Path, mask: int) -> int:
        """Watch a directory. Raises OSError."""
        return self._call("inotify_add_watch", self.descriptor, os.fsencode(path), mask)

    def remove(self, watch: int) -> None:
        """End a watch. Raises OSError when it has ended already."""
        self._call("inotify_rm_watch", self.descriptor, watch)

    def read(self) -> Iterator[Happened]:
        """What has happened since the last call."""
        while True:
            try:
                content = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(content):
                watch, mask, _, length = _EVENT.unpack_from(content, offset)
                offset += _EVENT.size
                name = content[offset : offset + length].rstrip(b"\0").decode()
                offset += length
                yield Happened(watch, mask, name)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _call(self, name: str, *arguments: int | bytes) -> int:
        result: int = getattr(self._libc, name)(*arguments)
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"{name}: {os.strerror(error)}")
        return result
