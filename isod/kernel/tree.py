"""Reading sysfs through directory fds: one directory stays one instance, whatever happens to it.

A path names whatever sits there now; an open directory names the device that sat there when it
was opened. When the device goes, reads through its directory fail (ENODEV, ENOENT) and never
reach its successor.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

PCI_NAME = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR}
_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR}
_ATTRIBUTE_SIZE = 4096


class UnreadableError(Exception):
    """An attribute is there and cannot be read, or makes no sense. Whoever needs it gives up.
    ``errno`` is the kernel's, or EIO."""

    errno: int = errno.EIO


class ShortageError(UnreadableError):
    """This process lacks what it takes to look, say a file descriptor or memory: that tells nothing
    of what is there, so whoever draws a picture of it has none."""


def unreadable(place: object, error: OSError) -> UnreadableError:
    """The error to raise for what is there and did not let itself be read."""
    kind = ShortageError if error.errno in _SHORT else UnreadableError
    failure = kind(f"{place}: {error.strerror}")
    failure.errno = error.errno or errno.EIO
    return failure


def check_shortage(place: object, error: OSError) -> None:
    """Before doing without something that cannot be read. Raises ShortageError."""
    if error.errno in _SHORT:
        raise unreadable(place, error) from error


class Directory:
    """An open directory of sysfs (or of a tree that stands for it).

    Raises FileNotFoundError when it is not there and UnreadableError when it cannot be opened.
    The last part of the path may be a symbolic link, as all of ``/sys/bus/pci/devices`` are.
    """

    __slots__ = ("_listing", "descriptor", "path")

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self._listing: frozenset[str] | None = None
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _GONE:
                raise FileNotFoundError(error.errno, "no such directory", self.path) from error
            raise unreadable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def generation(self) -> int:
        """The directory's inode. kernfs gives every new directory another one."""
        return os.fstat(self.descriptor).st_ino

    def has(self, name: str) -> bool:
        """Whether the directory held a name when it was first asked: one listing is cheaper than
        a failed open for each attribute that most devices lack. Raises UnreadableError."""
        if self._listing is None:
            self._listing = frozenset(self.names())
        return name in self._listing

    def data(self, name: str, size: int = _ATTRIBUTE_SIZE) -> bytes | None:
        """An attribute's first ``size`` bytes; None when it is not there."""
        try:
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor
            )
            try:
                return os.read(descriptor, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise unreadable(f"{self.path}/{name}", error) from error

    def text(self, name: str) -> str | None:
        """An attribute's text without the newline; None when it is not there."""
        data = self.data(name)
        if data is None:
            return None
        try:
            return data.decode().strip()
        except UnicodeDecodeError as error:
            raise UnreadableError(f"{self.path}/{name}: not text") from error

    def link(self, name: str) -> str | None:
        """The last part of what a symbolic link points to; None when there is none."""
        try:
            return os.readlink(name, dir_fd=self.descriptor).rpartition("/")[2]
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise unreadable(f"{self.path}/{name}", error) from error

    def names(self) -> list[str]:
        """What the directory holds, sorted."""
        try:
            with os.scandir(self.descriptor) as entries:
                return sorted(entry.name for entry in entries)
        except OSError as error:
            raise unreadable(self.path, error) from error


def names_in(path: Path | str) -> list[str]:
    """What a directory holds, sorted; nothing when it is not there. Raises UnreadableError."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries)
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise unreadable(path, error) from error


def is_gone(path: Path | str) -> bool:
    """Whether nothing is at a path (any more). Raises UnreadableError."""
    try:
        os.stat(path)  # noqa: PTH116 - a path object costs more
    except OSError as error:
        if error.errno in _GONE:
            return True
        raise unreadable(path, error) from error
    return False


def hexadecimal(text: str | None, digits: int) -> str:
    """``0x8086`` as ``8086``. Raises UnreadableError for anything else."""
    if text is None or not re.fullmatch(rf"0x[0-9a-f]{{{digits}}}", text):
        raise UnreadableError(f"not a number of {digits} hexadecimal digits: {text!r}")
    return text[2:]


def decimal(text: str | None) -> int | None:
    """A decimal number, or None where there is none."""
    if text is None or not re.fullmatch(r"-?[0-9]{1,18}", text):
        return None
    return int(text)
