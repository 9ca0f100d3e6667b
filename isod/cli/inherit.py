"""What a command finds open when it is executed."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from pathlib import Path

_STANDARD = frozenset({0, 1, 2})


def occupy_standard_files() -> None:
    """Open what is closed of stdin, stdout and stderr on /dev/null.

    The first fds of a lease would land there otherwise, and be taken for somebody's input.
    """
    for number in sorted(_STANDARD):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def keep_only(numbers: Collection[int]) -> None:
    """Let exactly these fds, and the standard ones, survive the next exec.

    Everything else is marked, whoever opened it: a connection or somebody else's device must not
    reach a command that was never meant to have it.
    """
    for entry in sorted(Path("/proc/self/fd").iterdir()):
        number = int(entry.name)
        if number in _STANDARD:
            continue
        try:
            os.set_inheritable(number, number in numbers)
        except OSError:
            continue  # the one that listed the directory, closed by now


def restore_signals() -> None:
    """Undo what Python changed for itself: a command expects to die of SIGPIPE."""
    for one in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(one, signal.SIG_DFL)


def is_executable(command: str, path: str | None) -> bool:
    """Whether exec would find the command; asked before a lease is taken for it."""
    if "/" in command:
        return os.access(command, os.X_OK) and not Path(command).is_dir()
    folders = (path if path is not None else os.defpath).split(os.pathsep)
    return any(is_executable(f"{folder or '.'}/{command}", path) for folder in folders)
