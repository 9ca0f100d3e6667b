"""Who believes to own which device, beside isod: a lock on a file for each."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import trio

# At the death of a process its files are closed by number (close_files in kernel/exit.c): locks
# have low ones, so that a device is never free before its lock is.
_RESERVED = 512
_PATIENCE_SECONDS = 5.0


class TwoOwnersError(AssertionError):
    """Two clients have a lease of one device."""


class LockNumbers:
    """Numbers of files below all others, for locks to have."""

    def __init__(self) -> None:
        self._free = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(_RESERVED)]

    def take(self, file: int) -> int:
        """Give an open file a low number; its own is closed."""
        number = self._free.pop()
        os.dup2(file, number, inheritable=False)
        os.close(file)
        return number

    def give_back(self, number: int) -> None:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, number, inheritable=False)
        os.close(null)
        self._free.append(number)


class Ownership:
    """The devices of one lease, locked until ``end``."""

    def __init__(self, numbers: LockNumbers) -> None:
        self._numbers = numbers
        self._locked: list[int] = []

    @classmethod
    async def begin(cls, folder: Path, numbers: LockNumbers, devices: Iterable[str]) -> Self:
        """Raises TwoOwnersError when somebody else has one of them."""
        own = cls(numbers)
        try:
            for device in sorted(devices):
                path = folder / device.replace(":", "_")
                number = numbers.take(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
                own._locked.append(number)
                await _lock(number, device)
        except BaseException:
            own.end()
            raise
        return own

    def end(self) -> None:
        """Before the device's own files are closed."""
        while self._locked:
            self._numbers.give_back(self._locked.pop())


async def _lock(file: int, device: str) -> None:
    """A process that dies on a busy machine may keep its locks for a moment."""
    with trio.move_on_after(_PATIENCE_SECONDS):
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await trio.sleep(0.05)
            else:
                return
    raise TwoOwnersError(f"somebody else has {device}, too")
