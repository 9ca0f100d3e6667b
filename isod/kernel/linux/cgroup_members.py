"""Ends what is in a cgroup one process at a time, where ``cgroup.kill`` is not ours to write.

What a user's service manager has made, or any service that cgroups were delegated to, belongs to
its user, and root without CAP_DAC_OVERRIDE may not write there. Every process in it may be
signalled nevertheless, with CAP_KILL.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from isod.kernel.process import end_process, is_alive, start_time
from isod.kernel.refusal import refused_by_kernel

_PROCESSES = "cgroup.procs"
# Processes that are named at a time: each of them costs an fd meanwhile, and there may be many.
BATCH = 64
# One that forks faster than it is ended has to be given up.
ROUNDS = 100
# It is gone, or "threaded": what is in that is listed in the cgroup above.
_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP})


def end_members(directory: int) -> None:
    """SIGKILL every process in a cgroup and below, until a look finds none that did not get it.

    Raises RefusedError without the right to, or if there are new ones again and again; OSError.
    """
    ended: set[tuple[int, int | None]] = set()
    for _ in range(ROUNDS):
        before = len(ended)
        for place in _places(directory):
            _end_in(directory, place, ended)
        if len(ended) == before:
            return
    raise refused_by_kernel("what is in it forks faster than it is ended", errno.EAGAIN)


def _places(directory: int) -> Iterator[str]:
    """The cgroup and all below it, by path. Not recursive: a user may nest them deeply."""
    waiting = ["."]
    while waiting:
        place = waiting.pop()
        yield place
        with suppress(FileNotFoundError):
            descriptor = _open(directory, place, os.O_DIRECTORY)
            try:
                with os.scandir(descriptor) as entries:
                    waiting += [f"{place}/{entry.name}" for entry in entries if entry.is_dir()]
            finally:
                os.close(descriptor)


def _end_in(directory: int, place: str, ended: set[tuple[int, int | None]]) -> None:
    """SIGKILL what is in one cgroup, and add who got it, by pid and start time."""
    pids = _listed(directory, place)
    for first in range(0, len(pids), BATCH):
        with ExitStack() as stack:
            named: dict[int, int] = {}
            for pid in pids[first : first + BATCH]:
                with suppress(ProcessLookupError):
                    named[pid] = os.pidfd_open(pid)
                    stack.callback(os.close, named[pid])
            # Named first, then looked up again: a pid that is still listed, and whose process is
            # still there, is that process's and no other's.
            still = set(_listed(directory, place))
            for pid, pidfd in named.items():
                started = start_time(pid)
                if pid in still and is_alive(pidfd) and (pid, started) not in ended:
                    end_process(pidfd, gently=False)
                    ended.add((pid, started))


def _listed(directory: int, place: str) -> list[int]:
    """The processes in one cgroup, but for those that have no pid here."""
    try:
        descriptor = _open(directory, f"{place}/{_PROCESSES}", 0)
        with open(descriptor, encoding="ascii") as lines:
            return [pid for pid in map(int, lines) if pid]
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return []
        raise


def _open(directory: int, path: str, flags: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=directory)
