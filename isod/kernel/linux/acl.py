"""POSIX ACLs as the kernel stores them (include/uapi/linux/posix_acl_xattr.h, version 2)."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Collection
from dataclasses import dataclass, replace

_NAME = "system.posix_acl_access"
_VERSION = 2
_ENTRY = struct.Struct("<HHI")
_NOBODY = 0xFFFFFFFF

_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NAMED = {_USER, _GROUP}
_MASKED = {*_NAMED, _GROUP_OBJ}

READ_WRITE = 6
WRITE = 2
EXECUTE = 1


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One line of an ACL: ``tag`` as in posix_acl.h, permission bits, uid or gid if named."""

    tag: int
    who: int
    permissions: int


def read_acl(path: str) -> list[Entry]:
    """The ACL of a node, or the one that its mode amounts to. Raises OSError."""
    try:
        data = os.getxattr(path, _NAME)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 (beside getxattr)
        return [
            Entry(_USER_OBJ, _NOBODY, mode >> 6 & 7),
            Entry(_GROUP_OBJ, _NOBODY, mode >> 3 & 7),
            Entry(_OTHER, _NOBODY, mode & 7),
        ]
    return parse_acl(data)


def write_acl(path: str, entries: list[Entry]) -> None:
    """Set a node's ACL. One without named entries becomes a plain mode again. Raises OSError."""
    os.setxattr(path, _NAME, format_acl(entries))


def parse_acl(data: bytes) -> list[Entry]:
    """Raises OSError (EINVAL) for anything but version 2."""
    if len(data) % _ENTRY.size != 4 or struct.unpack_from("<I", data)[0] != _VERSION:
        raise OSError(errno.EINVAL, "not an ACL of version 2")
    return [Entry(tag, who, bits) for tag, bits, who in _ENTRY.iter_unpack(data[4:])]


def format_acl(entries: list[Entry]) -> bytes:
    """The kernel wants the entries ordered by tag and id."""
    body = b"".join(_ENTRY.pack(one.tag, one.permissions, one.who) for one in sorted(entries))
    return struct.pack("<I", _VERSION) + body


def with_user(entries: list[Entry], uid: int) -> list[Entry]:
    """Reading and writing for a uid, besides what the others have."""
    return _with_mask([*_without(entries, uid), Entry(_USER, uid, READ_WRITE)])


def without_user(entries: list[Entry], uid: int) -> list[Entry]:
    """No entry for the uid; without any named entry there is no mask either."""
    return _with_mask(_without(entries, uid))


def with_exactly(
    entries: list[Entry], users: Collection[int], groups: Collection[int], permissions: int
) -> list[Entry]:
    """These uids and gids with these permissions, and no other named ones."""
    return _with_mask(
        [
            *(one for one in entries if one.tag in (_USER_OBJ, _GROUP_OBJ, _OTHER)),
            *(Entry(_USER, uid, permissions) for uid in users),
            *(Entry(_GROUP, gid, permissions) for gid in groups),
        ]
    )


def for_others(entries: list[Entry]) -> int:
    """The permission bits of whoever is named nowhere."""
    return next((one.permissions for one in entries if one.tag == _OTHER), 0)


def users(entries: list[Entry]) -> dict[int, int]:
    """Permission bits that the uid entries really give: those that the mask admits."""
    mask = next((one.permissions for one in entries if one.tag == _MASK), 7)
    return {one.who: one.permissions & mask for one in entries if one.tag == _USER}


def _without(entries: list[Entry], uid: int) -> list[Entry]:
    """The entries of the others, each with what the mask leaves it: what the mask hid must not
    come to life by a wider one."""
    mask = next((one.permissions for one in entries if one.tag == _MASK), 7)
    return [
        replace(one, permissions=one.permissions & mask) if one.tag in _MASKED else one
        for one in entries
        if one.tag != _MASK and (one.tag, one.who) != (_USER, uid)
    ]


def _with_mask(entries: list[Entry]) -> list[Entry]:
    if not any(one.tag in _NAMED for one in entries):
        return entries
    union = 0
    for one in entries:
        if one.tag in _MASKED:
            union |= one.permissions
    return [*entries, Entry(_MASK, _NOBODY, union)]
