"""Close events on device nodes: inotify fires at the very last close of an open file.

Across dup, fork, SCM_RIGHTS and mmap alike; just before the release runs, so that what it says
must be confirmed by a probe. Only opens through our own nodes are seen.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Collection
from pathlib import Path

_CLOSE_WRITE = 0x00000008
_CLOSE_NOWRITE = 0x00000010
_OVERFLOW = 0x00004000
_IGNORED = 0x00008000
_DONT_FOLLOW = 0x02000000
_WANTED = _CLOSE_WRITE | _CLOSE_NOWRITE | _DONT_FOLLOW
_HEAD = struct.Struct("iIII")


class CloseWatch:
    """An inotify instance on nodes below a /dev. Raises OSError when there is none to be had."""

    def __init__(self, dev: Path) -> None:
        self._dev = dev
        self._library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._check(
            self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1"
        )
        self._nodes: dict[int, str] = {}

    def fileno(self) -> int:
        return self._descriptor

    def watch(self, nodes: Collection[str]) -> None:
        """Watch exactly these nodes (paths below /dev); one that is not there is passed over.

        A node that was watched already stays watched: no event is lost.
        """
        left = dict(self._nodes)
        self._nodes = {}
        for node in nodes:
            try:
                number = self._add(node)
            except FileNotFoundError:
                continue
            self._nodes[number] = node
            left.pop(number, None)
        for number in left:
            # EINVAL: the node is gone and its watch with it.
            self._library.inotify_rm_watch(self._descriptor, number)

    def read(self) -> frozenset[str]:
        """The nodes that were closed since the last call; does not block. When the queue has
        overflowed, all of them."""
        closed: set[str] = set()
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return frozenset(closed)
            offset = 0
            while offset < len(data):
                number, mask, _, length = _HEAD.unpack_from(data, offset)
                offset += _HEAD.size + length
                if mask & _OVERFLOW:
                    closed.update(self._nodes.values())
                elif mask & _IGNORED:
                    # The node went away, and with it the last file: worth a look.
                    node = self._nodes.pop(number, None)
                    closed.update([] if node is None else [node])
                elif number in self._nodes:
                    closed.add(self._nodes[number])

    def close(self) -> None:
        os.close(self._descriptor)

    def _add(self, node: str) -> int:
        path = os.fsencode(self._dev / node)
        return self._check(
            self._library.inotify_add_watch(self._descriptor, path, _WANTED), str(path)
        )

    def _check(self, result: int, what: str) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)
        return result
