"""Who gets through to the admin socket: root, and those whom [admin] names."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from isod.daemon.admin_rights import AdminRights
from isod.kernel.linux import acl
from isod.model.policy import Who

USER, GROUP = 0x02, 0x08
ALICE = Who(uids=((1000, 1000),))
STAFF = Who(gids=((50, 51),))


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    folder = tmp_path / "admin"
    folder.mkdir(mode=0o700)
    path = folder / "admin.sock"
    path.touch(mode=0o600)
    try:
        acl.write_acl(str(path), acl.with_user(acl.read_acl(str(path)), 1))
        acl.write_acl(str(path), acl.without_user(acl.read_acl(str(path)), 1))
    except OSError as error:
        pytest.skip(f"no ACLs here: {error.strerror}")
    return path


def named(path: Path) -> dict[tuple[int, int], int]:
    """Permission bits by tag and id of an ACL's named entries."""
    entries = acl.read_acl(str(path))
    return {(one.tag, one.who): one.permissions for one in entries if one.tag in (USER, GROUP)}


def test_nobody_but_root_unless_somebody_is_named(socket: Path) -> None:
    assert AdminRights(socket).give(()) == ()
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert named(socket) == {}


def test_those_named_may_pass_the_folder_and_write_to_the_socket(socket: Path) -> None:
    assert AdminRights(socket).give((ALICE, STAFF)) == ()
    assert named(socket.parent) == {(USER, 1000): 1, (GROUP, 50): 1, (GROUP, 51): 1}
    assert named(socket) == {(USER, 1000): 2, (GROUP, 50): 2, (GROUP, 51): 2}


def test_a_later_policy_takes_away_what_an_earlier_gave(socket: Path) -> None:
    rights = AdminRights(socket)
    rights.give((ALICE,))
    rights.give((STAFF,))
    assert named(socket) == {(GROUP, 50): 2, (GROUP, 51): 2}
    rights.give(())
    assert named(socket) == named(socket.parent) == {}
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_of_user_and_group_the_user_gets_through(socket: Path) -> None:
    """The gate asks for the group."""
    AdminRights(socket).give((Who(uids=((1000, 1000),), gids=((50, 50),)),))
    assert named(socket) == {(USER, 1000): 2}


def test_of_a_group_by_name_and_one_by_number_the_former_gets_through(socket: Path) -> None:
    """The gate asks for both."""
    AdminRights(socket).give((Who(groups=((50, 50),), gids=((60, 70),)),))
    assert named(socket) == {(GROUP, 50): 2}


def test_a_folder_that_everybody_may_pass_is_left_alone(socket: Path) -> None:
    """An entry would take rights away that its user has."""
    socket.parent.chmod(0o755)
    AdminRights(socket).give((ALICE,))
    assert named(socket.parent) == {}
    assert named(socket) == {(USER, 1000): 2}


def test_without_acls_root_stays_alone_and_the_log_is_told(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "setxattr", refuse)
    [warning] = AdminRights(socket).give((ALICE,))
    assert "only root" in warning
    assert AdminRights(socket).give(()) == ()
