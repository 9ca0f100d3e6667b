"""Control groups (v2): which one a process is in, whether it is empty, ending all that is in it.

Every act opens the directory first and compares its inode, which the kernel gives to no second
cgroup (kernfs ids, Linux 5.5); what is read and written is found through that open directory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isod.kernel.cgroup_watch import InotifyCgroupWatch
from isod.kernel.inotify import IN_MODIFY
from isod.kernel.refusal import refused_by_kernel
from isod.model.peer import Cgroup
from isod.model.reason import Reason, RefusedError

from .cgroup_members import end_members

# The second: beside hierarchies of version 1.
_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR})
_EVENTS = "cgroup.events"


def read_cgroup(root: Path, pid: int) -> Cgroup:
    """The cgroup that a process is in now. Raises RefusedError if none can be named safely.

    The caller holds a pidfd and looks whether the process is still there afterwards.
    """
    path = _path_of(pid)
    if path == "/":
        raise RefusedError(
            Reason.unsupported,
            "your program is in the root cgroup, which is never empty",
            hint="run it in a unit or scope of its own, say with systemd-run",
        )
    if path.endswith(" (deleted)") or "/.." in path:
        raise RefusedError(
            Reason.unsupported,
            "your program's cgroup cannot be seen from here",
            hint="isod sees only cgroups below its own cgroup namespace's root",
        )
    own = _path_of(os.getpid())
    if own == path or own.startswith(f"{path}/"):
        raise RefusedError(
            Reason.unsupported,
            f"isod itself runs in your program's cgroup {path}",
            hint="run it in a unit or scope of its own, say with systemd-run",
        )
    try:
        descriptor = _open(root, path)
    except OSError as error:
        raise refused_by_kernel(f"cannot open the cgroup {path}", error.errno or 0) from error
    try:
        os.close(os.open(_EVENTS, os.O_RDONLY | os.O_CLOEXEC, dir_fd=descriptor))
        return Cgroup(path, os.fstat(descriptor).st_ino)
    except OSError as error:
        raise refused_by_kernel(f"cannot watch the cgroup {path}", error.errno or 0) from error
    finally:
        os.close(descriptor)


def is_populated(root: Path, cgroup: Cgroup) -> bool:
    """Whether a process is in the cgroup or below it; False when the cgroup is gone.

    Raises OSError when that cannot be told.
    """
    with _opened(root, cgroup) as directory:
        if directory is None:
            return False
        try:
            descriptor = os.open(_EVENTS, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
            try:
                lines = os.read(descriptor, 4096).decode().splitlines()
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
    if "populated 0" in lines:
        return False
    if "populated 1" in lines:
        return True
    raise OSError(errno.EIO, f"{_EVENTS} of {cgroup.path} does not say whether it is populated")


def end_cgroup(root: Path, cgroup: Cgroup) -> None:
    """End every process in the cgroup and below, those that fork meanwhile as well.

    ``cgroup.kill`` (Linux 5.14) can only kill. One that is gone is no failure. Raises RefusedError.
    """
    try:
        with _opened(root, cgroup) as directory:
            if directory is None:
                return
            try:
                _write_kill(directory)
            except PermissionError:
                end_members(directory)  # it is a user's, or a service's that runs as one
    except OSError as error:
        if error.errno == errno.ENODEV:
            return
        hint = None
        if error.errno == errno.EROFS:
            hint = "isod needs to write below /sys/fs/cgroup: the drop-in end-clients.conf"
        raise refused_by_kernel(
            f"cannot end what is in the cgroup {cgroup.path}", error.errno or 0, hint=hint
        ) from error


def _write_kill(directory: int) -> None:
    descriptor = os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(descriptor, b"1")
    finally:
        os.close(descriptor)


class LinuxCgroupWatch(InotifyCgroupWatch):
    """The kernel notes changes of ``cgroup.events`` for inotify."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def _begin(self, cgroup: Cgroup) -> int | None:
        with _opened(self._root, cgroup) as directory:
            if directory is None:
                return None
            place = Path(f"/proc/self/fd/{directory}") / _EVENTS
            return self._inotify.add(place, IN_MODIFY)


@contextmanager
def _opened(root: Path, cgroup: Cgroup) -> Iterator[int | None]:
    """The cgroup's directory; None when it is gone, or another has its path. Raises OSError."""
    try:
        directory = _open(root, cgroup.path)
    except OSError as error:
        if error.errno in _GONE:
            yield None
            return
        raise
    try:
        yield directory if os.fstat(directory).st_ino == cgroup.identity else None
    finally:
        os.close(directory)


def _open(root: Path, path: str) -> int:
    for mount in _MOUNTS:
        # Only version 2 has this file, its root as well.
        if (root / mount / "cgroup.controllers").exists():
            place = root / mount / path.lstrip("/")
            return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    raise OSError(errno.ENODEV, "there is no cgroup file system of version 2")


def _path_of(pid: int) -> str:
    """The process's path in version 2, as /proc says it. Raises RefusedError."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_bytes()
    except OSError as error:
        raise refused_by_kernel(f"cannot read the cgroup of {pid}", error.errno or 0) from error
    return parse_membership(text)


def parse_membership(text: bytes) -> str:
    """The path in version 2 of a process's ``/proc/PID/cgroup``. Raises RefusedError."""
    for line in text.split(b"\n"):  # a name may hold anything else, even what looks like one
        if line.startswith(b"0::/"):
            with suppress(UnicodeDecodeError):
                return line[3:].decode()
            raise RefusedError(Reason.unsupported, "your program's cgroup is not named in UTF-8")
    raise RefusedError(
        Reason.unsupported,
        "this machine has no cgroups of version 2",
        hint="boot with systemd.unified_cgroup_hierarchy=1, or ask for another anchor",
    )
