"""The file format of captures: a tar, or a folder, with ``capture.json`` and a piece of sysfs.

A capture comes from somebody else. So what is read here is checked before a byte of it is
written: names stay below ``sys``, links point to places below ``sys``, nothing lies below a link,
and sizes are bounded.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "capture.json"
FORMAT = "isod capture"
VERSION = 1
_FILE_BYTES = 65536
_MANIFEST_BYTES = 16 << 20
_ENTRIES = 4_000_000
# What tarfile lets escape of a broken archive, beside its own errors: those of decompressors, and
# of numbers that no file has.
_BROKEN = (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class CaptureError(Exception):
    """This is no capture, or one that is not to be trusted. One line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a link or a folder below ``sys``: exactly one of ``content``, ``target`` and neither.
    Paths have no leading slash; ``target`` is relative to the link's folder, as in sysfs."""

    path: str
    content: bytes | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """``manifest`` is the content of ``capture.json``."""

    manifest: Mapping[str, Any]
    entries: tuple[Entry, ...]


def write_tar(file: Path, capture: Capture) -> None:
    """Write a capture into a new file. Names no user, group or time. Raises OSError."""
    with file.open("xb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        text = (json.dumps(capture.manifest, indent=1) + "\n").encode()
        for entry in (Entry(MANIFEST, text), *capture.entries):
            member = tarfile.TarInfo(entry.path)
            if entry.target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, entry.target
                archive.addfile(member)
            elif entry.content is not None:
                member.size = len(entry.content)
                archive.addfile(member, io.BytesIO(entry.content))
            else:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)


def is_capture(path: Path) -> bool:
    """Whether a path looks like one: a file, or a folder with a manifest."""
    return path.is_file() or (path / MANIFEST).is_file()


def read_capture(path: Path) -> Capture:
    """Read a tar or an unpacked one (blocking). Raises CaptureError, OSError."""
    if path.is_dir():
        manifest = _manifest(_bounded(path / MANIFEST, _MANIFEST_BYTES))
        return Capture(manifest, tuple(_checked(_in_folder(path))))
    try:
        with tarfile.open(path, mode="r:*") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or not first.isreg():
                raise CaptureError(f"{path}: does not begin with {MANIFEST}")
            if first.size > _MANIFEST_BYTES:
                raise CaptureError(f"{path}: its {MANIFEST} is too large")
            stream = archive.extractfile(first)
            manifest = _manifest(b"" if stream is None else stream.read())
            return Capture(manifest, tuple(_checked(_in_tar(archive))))
    except _BROKEN as error:
        raise CaptureError(f"{path}: is no tar, or a broken one") from error


def unpack(entries: Iterable[Entry], directory: Path) -> None:
    """Write checked entries below a new directory. Raises OSError."""
    for entry in entries:
        path = directory / entry.path
        if entry.target is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(entry.target)
        elif entry.content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.content)
        else:
            path.mkdir(parents=True, exist_ok=True)


def _manifest(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"{MANIFEST}: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CaptureError(f"{MANIFEST}: is not of an {FORMAT}")
    if found.get("version") != VERSION:
        raise CaptureError(f"{MANIFEST}: version {found.get('version')} is not known here")
    return found


def _in_tar(archive: tarfile.TarFile) -> Iterator[Entry]:
    for member in archive:
        if member.name == MANIFEST:
            continue
        if member.issym():
            yield Entry(member.name, target=member.linkname)
        elif member.isdir():
            yield Entry(member.name)
        elif member.isreg() and member.size <= _FILE_BYTES:
            stream = archive.extractfile(member)
            yield Entry(member.name, content=b"" if stream is None else stream.read())
        else:
            raise CaptureError(f"{member.name}: is too large, or of a kind that captures lack")


def _in_folder(folder: Path) -> Iterator[Entry]:
    for place, folders, files in os.walk(folder / "sys"):
        here = Path(place)
        yield Entry(str(here.relative_to(folder)))
        for name in (*folders, *files):
            path = here / name
            inside = str(path.relative_to(folder))
            if path.is_symlink():
                yield Entry(inside, target=str(path.readlink()))
            elif path.is_file():
                yield Entry(inside, content=_bounded(path, _FILE_BYTES))


def _bounded(path: Path, size: int) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(size + 1)
    if len(data) > size:
        raise CaptureError(f"{path}: is too large")
    return data


def _checked(entries: Iterable[Entry]) -> Iterator[Entry]:
    links: set[str] = set()
    for count, entry in enumerate(entries):
        if count >= _ENTRIES:
            raise CaptureError("it holds too much")
        parts = entry.path.split("/")
        if parts[0] != "sys" or not all(part not in {"", ".", ".."} for part in parts):
            raise CaptureError(f"{entry.path!r}: is not below sys")
        above = {"/".join(parts[:length]) for length in range(1, len(parts))}
        if above & links:
            raise CaptureError(f"{entry.path}: lies below a link")
        if entry.target is not None:
            _check_target(entry.path, entry.target)
            links.add(entry.path)
        yield entry


def _check_target(path: str, target: str) -> None:
    """Leading ``..`` count from a real folder; further on they would count from wherever a link on
    the way leads, so there are none."""
    parts = target.split("/")
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if target.startswith("/") or ".." in parts[ups:] or inside.split("/")[0] != "sys":
        raise CaptureError(f"{path}: points out of the capture: {target}")
