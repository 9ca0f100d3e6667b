"""POSIX ACLs: entries, masks, and the way through the kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from isod.kernel.linux.acl import (
    Entry,
    format_acl,
    parse_acl,
    read_acl,
    users,
    with_user,
    without_user,
    write_acl,
)

_NOBODY = 0xFFFFFFFF
PLAIN = [Entry(0x01, _NOBODY, 6), Entry(0x04, _NOBODY, 0), Entry(0x20, _NOBODY, 0)]


def test_a_user_comes_and_goes() -> None:
    granted = with_user(PLAIN, 1000)
    assert users(granted) == {1000: 6}
    assert Entry(0x10, _NOBODY, 6) in granted
    assert with_user(granted, 1000) == granted
    assert without_user(granted, 1000) == PLAIN
    assert without_user(PLAIN, 1000) == PLAIN


def test_what_a_mask_hid_stays_hidden() -> None:
    hidden = [*PLAIN, Entry(0x02, 7, 6), Entry(0x10, _NOBODY, 0)]
    assert users(hidden) == {7: 0}
    granted = with_user(hidden, 1000)
    assert users(granted) == {7: 0, 1000: 6}


def test_a_lost_mask_comes_back() -> None:
    """udev's chmod after our entry narrows the mask; granting again opens it for us."""
    narrowed = [
        one if one.tag != 0x10 else Entry(0x10, _NOBODY, 0) for one in with_user(PLAIN, 1000)
    ]
    assert users(narrowed) == {1000: 0}
    assert users(with_user(narrowed, 1000)) == {1000: 6}


def test_it_is_stored_as_the_kernel_wants_it() -> None:
    granted = with_user(with_user(PLAIN, 2000), 1000)
    data = format_acl(granted)
    assert parse_acl(data) == sorted(granted)
    assert data[:4] == b"\x02\x00\x00\x00"
    for broken in (b"", data[:-1], b"\x01" + data[1:]):
        with pytest.raises(OSError, match="version 2"):
            parse_acl(broken)


def test_through_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "node"
    path.touch(0o600)
    before = path.stat().st_mode
    try:
        write_acl(str(path), with_user(read_acl(str(path)), 65534))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("no ACLs on this file system")
    assert users(read_acl(str(path))) == {65534: 6}
    write_acl(str(path), without_user(read_acl(str(path)), 65534))
    assert path.stat().st_mode == before
    assert "system.posix_acl_access" not in os.listxattr(path)
