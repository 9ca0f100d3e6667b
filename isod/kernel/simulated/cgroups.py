"""Control groups of a simulated host: real processes, in groups that are only pretended.

A cgroup is a directory below ``sys/fs/cgroup`` with a file ``members``, which its processes have
open and locked (``flock``). So a forked child is in its parent's cgroup, and who ends has left it,
as with a real kernel, whether or not a daemon lives to see it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from isod.kernel.cgroup_watch import InotifyCgroupWatch
from isod.kernel.inotify import IN_CLOSE_WRITE, IN_ONLYDIR
from isod.kernel.process import is_alive
from isod.model.peer import Cgroup
from isod.model.reason import Reason, RefusedError

from .entry import entered
from .failure import failure
from .host import Host

_MEMBERS = "members"
_ROUNDS = 100


def make_cgroup(directory: Path, path: str) -> None:
    """Make a cgroup, say ``/machine.slice/vm.scope``, that any process may enter."""
    place = _place(Host(directory), path)
    place.mkdir(parents=True, exist_ok=True)
    members = place / _MEMBERS
    members.touch()
    members.chmod(0o666)


def remove_cgroup(directory: Path, path: str) -> None:
    """Remove a cgroup. Raises EBUSY while a process is in it."""
    host = Host(directory)
    with entered(host):
        if _is_populated(_place(host, path)):
            raise failure(errno.EBUSY, f"{path} is populated")
        (_place(host, path) / _MEMBERS).unlink()
        _place(host, path).rmdir()


def enter_cgroup(directory: Path, path: str) -> None:
    """Move this process, and with it the children that it has from now on, into a cgroup."""
    host = Host(directory)
    with entered(host):
        former = _files_of(host, os.getpid())
        descriptor = os.open(_place(host, path) / _MEMBERS, os.O_RDWR | os.O_CLOEXEC)
        # Exec does not leave a cgroup.
        os.set_inheritable(descriptor, True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        for number in former:
            os.close(number)


def read_cgroup(host: Host, pid: int) -> Cgroup:
    """The cgroup that a process is in. Raises RefusedError in the root cgroup."""
    for place in _files_of(host, pid).values():
        path = "/" + str(place.parent.relative_to(_root(host)))
        return Cgroup(path, place.parent.stat().st_ino)
    raise RefusedError(
        Reason.unsupported,
        "your program is in the root cgroup, which is never empty",
        hint="run it in a unit or scope of its own, say with systemd-run",
    )


def is_populated(host: Host, cgroup: Cgroup) -> bool:
    """Whether a process is in the cgroup or below it; False when it is gone."""
    with entered(host):
        place = _place(host, cgroup.path)
        return _is(place, cgroup) and _is_populated(place)


def end_cgroup(host: Host, cgroup: Cgroup) -> None:
    """SIGKILL for every process in the cgroup and below. Raises PermissionError."""
    place = _place(host, cgroup.path)
    for _ in range(_ROUNDS):  # whoever forked meanwhile is found in the next
        found = [pid for pid in _pids() if _is(place, cgroup) and _is_below(host, pid, place)]
        if not found:
            return
        for pid in found:
            _kill(host, pid, place)
    raise TimeoutError(errno.ETIMEDOUT, f"the processes of {cgroup.path} fork without end")


class SimulatedCgroupWatch(InotifyCgroupWatch):
    """Who ends closes its ``members``."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host

    def _begin(self, cgroup: Cgroup) -> int | None:
        place = _place(self._host, cgroup.path)
        return self._inotify.add(place, IN_CLOSE_WRITE | IN_ONLYDIR)


def _root(host: Host) -> Path:
    return host.tree.root / "sys/fs/cgroup"


def _place(host: Host, path: str) -> Path:
    return _root(host) / path.lstrip("/")


def _is(place: Path, cgroup: Cgroup) -> bool:
    with suppress(FileNotFoundError):
        return place.stat().st_ino == cgroup.identity
    return False


def _is_populated(place: Path) -> bool:
    return any(_is_held(members) for members in place.rglob(_MEMBERS))


def _is_held(members: Path) -> bool:
    descriptor = os.open(members, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _pids() -> Iterator[int]:
    return (int(place.name) for place in Path("/proc").iterdir() if place.name.isdecimal())


def _files_of(host: Host, pid: int) -> dict[int, Path]:
    """The ``members`` files of this host that a process has open, by fd; none when it is gone."""
    root, found = str(_root(host).resolve()), {}
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for place in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                target = str(place.readlink())
                if target.startswith(f"{root}/") and target.endswith(f"/{_MEMBERS}"):
                    found[int(place.name)] = Path(target)
    return found


def _is_below(host: Host, pid: int, place: Path) -> bool:
    place = place.resolve()
    return any(members.is_relative_to(place) for members in _files_of(host, pid).values())


def _kill(host: Host, pid: int, place: Path) -> None:
    """By pidfd: looked at once more, since the pid may be another process's by now."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_below(host, pid, place) and is_alive(pidfd):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
