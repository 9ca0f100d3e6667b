"""The open files of a simulated host.

Opening a node makes a file of its own, which its opener holds with ``flock`` on its open file
description. So it counts as open exactly as long as any copy of the fd lives: a dup, a child's,
one in flight over a socket. No process need clean up; the next that looks finds the lock gone.

The opener's fd is the only one that ever writes to such a file. Others open it for reading, so
that IN_CLOSE_WRITE means the opener's last close and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from .failure import failure
from .records import DeviceFile, Record, decode, encode
from .tree import names_in

ROOM = 320
CONTEXTS = "contexts"


@dataclass(slots=True)
class Opened:
    """An open file: its name below ``opens``, what it is, and whether any fd of it lives.

    One without an fd is still open if another file holds it: a device its group's file.
    """

    name: str
    record: Record
    alive: bool


def node_of(name: str) -> str:
    """The node below /dev whose close a file's name in its place speaks of.

    A device opened through its group has no node; its close may be the group's.
    """
    node = name.partition(".")[0]
    if node.startswith("cdev-"):
        return "vfio/devices/" + node.removeprefix("cdev-")
    return "vfio/" + node.removeprefix("device-").removeprefix("group-")


def create(opens: Path, place: str, node: str, record: Record) -> int:
    """Open ``node`` in ``place`` (a group's number, or CONTEXTS); the fd is the caller's."""
    path = f"{opens}/{place}/{node}.{uuid.uuid4().hex[:12]}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:
        make_place(opens / place)
        descriptor = os.open(path, flags, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write(descriptor, record)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def make_place(directory: Path) -> None:
    """Make a place where anybody may open files, whoever runs the simulated kernel.

    It is there with its rights or not at all, whenever its maker is killed.
    """
    if directory.exists():
        return
    aside = directory.with_name(f".{directory.name}.{os.getpid()}.{threading.get_ident()}")
    aside.mkdir(exist_ok=True)
    aside.chmod(0o777)
    try:
        aside.rename(directory)
    except OSError:  # another was quicker, and files are open in it already
        aside.rmdir()
        if not directory.exists():
            raise


def write(descriptor: int, record: Record) -> None:
    """Replace the record of an open file in a single write."""
    os.pwrite(descriptor, encode(record, max(ROOM, os.fstat(descriptor).st_size)), 0)


def path_of(descriptor: int) -> Path:
    """The file that an fd has open. Raises EBADF for no fd."""
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    except FileNotFoundError:
        raise failure(errno.EBADF, "no such fd") from None


def name_of(descriptor: int) -> str:
    """The name of an fd's open file below ``opens``."""
    return "/".join(path_of(descriptor).parts[-2:])


def read(descriptor: int) -> Record | None:
    """The record of an open file, by an fd of it."""
    return decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0))


def look(opens: Path, name: str) -> Opened | None:
    """One open file by its name; None when it is gone."""
    try:
        descriptor = os.open(f"{opens}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        record = read(descriptor)
        return None if record is None else Opened(name, record, not _abandoned(descriptor))
    finally:
        os.close(descriptor)


def wait_closed(opens: Path, name: str) -> None:
    """Block until no fd of an open file is left."""
    try:
        descriptor = os.open(f"{opens}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _abandoned(descriptor: int) -> bool:
    """Whether nobody holds the file. Shared, so that two who look do not mislead each other."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def survey(opens: Path, place: str) -> tuple[list[Opened], list[Opened]]:
    """The open files of a place, and those that were closed since: their names are gone now."""
    found = []
    try:
        names = names_in(opens / place)
    except FileNotFoundError:
        return [], []
    for name in sorted(names):
        opened = look(opens, f"{place}/{name}")
        if opened is not None:
            found.append(opened)
        else:
            # Its opener was killed before it wrote a record, so before it got an fd to keep.
            (opens / place / name).unlink(missing_ok=True)
    held = {opened.name for opened in found if opened.alive}
    held |= {
        opened.record.via
        for opened in found
        if opened.alive and isinstance(opened.record, DeviceFile) and opened.record.via
    }
    closed = [opened for opened in found if opened.name not in held]
    for opened in closed:
        (opens / opened.name).unlink(missing_ok=True)
    return [opened for opened in found if opened.name in held], closed
