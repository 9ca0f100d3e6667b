"""The program of the helper: writes and reads of sysfs that may wait, in a process of their own.

Run as ``python -I -S helper_process.py SYSFS`` with pipes as stdin and stdout and no other fd. It
imports nothing of isod, so that it starts fast and keeps nothing that a client could wait for.

Lines both ways, fields separated by tabs, texts in hexadecimal:

``write PATH TEXT INODE [PATH TEXT INODE …]``   → ``ERRNO [ERRNO …]``, after the last write
``read PATH [PATH …]``                          → ``ERRNO TEXT`` for each path, as it is read

An empty line at the start says that it is ready.

Paths are relative to SYSFS. INODE is that of the directory which holds the attribute (0: not
looked at); another one is another device, and the write ends in ESTALE. At the end of stdin, or
with nobody at stdout any more, it exits.
"""

from __future__ import annotations

import errno
import os
import sys

WRITABLE = frozenset(
    {"bind", "driver_override", "drivers_probe", "remove", "reset", "sriov_numvfs", "unbind"}
)
READABLE = frozenset({"driver_override"})


def open_attribute(
    sysfs: str, path: str, flags: int, permitted: frozenset[str], inode: int = 0
) -> int:
    """Open an attribute below SYSFS, links on the way followed only within it. Raises OSError."""
    parent, _, name = path.rpartition("/")
    if name not in permitted or path.startswith("/") or ".." in path.split("/"):
        raise PermissionError(errno.EPERM, "not a permitted attribute", path)
    place = os.path.realpath(os.path.join(sysfs, parent), strict=True)  # noqa: PTH118
    if not place.startswith(sysfs + "/"):
        raise PermissionError(errno.EPERM, "not below sysfs", path)
    directory = open_directory(sysfs, place.removeprefix(sysfs + "/"))
    try:
        if inode and os.fstat(directory).st_ino != inode:
            raise OSError(errno.ESTALE, "another device", path)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)


def open_directory(sysfs: str, path: str) -> int:
    """Open a directory below SYSFS, name by name: none of them is a link, not even one that has
    come between looking and opening. Raises OSError."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(sysfs, os.O_RDONLY | flags)
    for name in path.split("/"):
        try:
            inner = os.open(name, os.O_RDONLY | flags, dir_fd=directory)
        finally:
            os.close(directory)
        directory = inner
    return directory


def write(sysfs: str, path: str, text: bytes, inode: int) -> int:
    """Write an attribute at once, as sysfs wants it; the errno, or 0."""
    try:
        descriptor = open_attribute(sysfs, path, os.O_WRONLY, WRITABLE, inode)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def read(sysfs: str, path: str) -> tuple[int, bytes]:
    """Read an attribute: errno (or 0) and text."""
    try:
        descriptor = open_attribute(sysfs, path, os.O_RDONLY, READABLE)
        try:
            return 0, os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or errno.EIO, b""


def answer(*fields: object) -> None:
    """Send one line. Raises BrokenPipeError when nobody listens any more."""
    os.write(1, "\t".join(map(str, fields)).encode() + b"\n")


def serve(sysfs: str) -> None:
    """Say that it is ready, then answer requests until stdin ends."""
    answer()
    for line in sys.stdin:
        kind, *fields = line.rstrip("\n").split("\t")
        if kind == "write":
            acts = zip(fields[0::3], fields[1::3], fields[2::3], strict=True)
            done = [write(sysfs, path, bytes.fromhex(text), int(ino)) for path, text, ino in acts]
            answer(*done)
        else:
            for path in fields:
                number, data = read(sysfs, path)
                answer(number, data.hex())


def main(arguments: list[str]) -> int:
    """Serve below the sysfs root that the first argument names."""
    try:
        serve(os.path.realpath(arguments[1], strict=True))
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
