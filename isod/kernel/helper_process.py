"""The program of the helper: writes and reads of sysfs that may wait, in a process of their own.

Run as ``python -I -S helper_process.py SYSFS`` with pipes as stdin and stdout and no other fd. It
imports nothing of isod, so that it starts fast and keeps nothing that a client could wait for.

One request a line on stdin, one JSON array a line on stdout:

``{"write": [[PATH, TEXT, INODE or null], …]}``   → ``[ERRNO, …]``, after the last write
``{"read": [PATH, …]}``                            → ``[ERRNO, TEXT]`` for each path, as it is read

An empty array at the start says that it is ready.

Paths are relative to SYSFS. INODE is that of the directory which holds the attribute: another
one is another device, and the write ends in ESTALE. End of stdin, or nobody at stdout: it exits.
"""

from __future__ import annotations

import errno
import json
import os
import sys

WRITABLE = frozenset(
    {"bind", "driver_override", "drivers_probe", "remove", "reset", "sriov_numvfs", "unbind"}
)
READABLE = frozenset({"driver_override"})


def open_attribute(
    sysfs: str, path: str, flags: int, permitted: frozenset[str], inode: int | None = None
) -> int:
    """Open an attribute below SYSFS, links on the way followed only within it. Raises OSError."""
    parent, _, name = path.rpartition("/")
    if name not in permitted or path.startswith("/") or ".." in path.split("/"):
        raise PermissionError(errno.EPERM, "not a permitted attribute", path)
    place = os.path.realpath(os.path.join(sysfs, parent), strict=True)  # noqa: PTH118
    if not place.startswith(sysfs + "/"):
        raise PermissionError(errno.EPERM, "not below sysfs", path)
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if inode is not None and os.fstat(directory).st_ino != inode:
            raise OSError(errno.ESTALE, "another device", path)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)


def write(sysfs: str, path: str, text: str, inode: int | None) -> int:
    """Write an attribute at once, as sysfs wants it; the errno, or 0."""
    try:
        descriptor = open_attribute(sysfs, path, os.O_WRONLY, WRITABLE, inode)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def read(sysfs: str, path: str) -> list[object]:
    """Read an attribute: errno (or 0) and text."""
    try:
        descriptor = open_attribute(sysfs, path, os.O_RDONLY, READABLE)
        try:
            return [0, os.read(descriptor, 4096).decode("utf-8", "replace")]
        finally:
            os.close(descriptor)
    except OSError as error:
        return [error.errno or errno.EIO, ""]


def answer(result: object) -> None:
    """Send one line. Raises BrokenPipeError when nobody listens any more."""
    os.write(1, json.dumps(result).encode() + b"\n")


def serve(sysfs: str) -> None:
    """Say that it is ready, then answer requests until stdin ends."""
    answer([])
    for line in sys.stdin:
        request = json.loads(line)
        if "write" in request:
            answer([write(sysfs, *act) for act in request["write"]])
        for path in request.get("read", ()):
            answer(read(sysfs, path))


def main(arguments: list[str]) -> int:
    """Serve below the sysfs root that the first argument names."""
    try:
        serve(os.path.realpath(arguments[1], strict=True))
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
