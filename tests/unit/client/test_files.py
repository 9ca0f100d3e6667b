"""Who owns the fds of a lease, and when they close."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from isod.client.files import CLOSED, LeasedFiles
from isod.model.address import Address
from isod.model.reply import FileRole
from tests.unit.wire.open_files import open_fds

NIC, DISK = Address.pci("0000:01:00.0"), Address.pci("0000:02:00.0")
ROLES = [
    FileRole(role="hold"),
    FileRole(role="container"),
    FileRole(role="group", group=12),
    FileRole(role="group", group=13),
    FileRole(role="device", address=NIC),
    FileRole(role="device", address=DISK),
]


def _open() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


@pytest.fixture
def files() -> Iterator[LeasedFiles]:
    before = open_fds()
    with LeasedFiles(ROLES, [_open() for _ in ROLES]) as opened:
        yield opened
    assert open_fds() == before


def test_files_by_role(files: LeasedFiles) -> None:
    numbers = [fd for _, fd in files]
    assert [files.hold, files.container, *files.groups.values()] == numbers[:4]
    assert files.groups == {12: numbers[2], 13: numbers[3]}
    assert files.devices == {NIC: numbers[4], DISK: numbers[5]}
    assert files.device("01:00.0") == files.device(NIC) == numbers[4]
    assert files.iommufd == CLOSED
    assert len(files) == 6
    with pytest.raises(KeyError):
        files.device("03:00.0")


def test_closed_files_are_minus_one(files: LeasedFiles) -> None:
    files.close()
    files.close()
    assert [fd for _, fd in files] == [CLOSED] * 6
    assert set(files.devices.values()) == {CLOSED}


def test_what_was_taken_stays_open(files: LeasedFiles) -> None:
    taken = [
        files.take("hold"),
        files.take("container"),
        files.take("group", 13),
        files.take("device", "02:00.0"),
    ]
    assert (files.hold, files.container, files.groups[13], files.devices[DISK]) == (CLOSED,) * 4
    assert files.groups[12] != CLOSED
    files.close()
    for fd in taken:
        os.close(fd)


@pytest.mark.parametrize(
    ("role", "which"),
    [("iommufd", None), ("group", 99), ("group", None), ("device", "03:00.0"), ("device", None)],
)
def test_what_is_not_there_cannot_be_taken(
    files: LeasedFiles, role: str, which: str | int | None
) -> None:
    with pytest.raises(KeyError):
        files.take(role, which)  # type: ignore[arg-type]


def test_nothing_is_taken_twice(files: LeasedFiles) -> None:
    os.close(files.take("hold"))
    with pytest.raises(KeyError):
        files.take("hold")


def test_all_are_taken_in_order(files: LeasedFiles) -> None:
    files_before = tuple(files)
    taken = files.take_all()
    assert taken == files_before
    assert files.take_all() == ()
    for _, fd in taken:
        os.close(fd)


def test_the_hold_survives_a_change_of_files(files: LeasedFiles) -> None:
    number = files.hold
    hold = files.detach_hold()
    files.close()
    fresh = LeasedFiles([FileRole(role="iommufd")], [_open()]).with_hold(hold)
    with fresh:
        assert fresh.hold == number
        assert fresh.iommufd != CLOSED
        assert hold.hold == CLOSED


def test_a_fresh_hold_takes_the_place_of_the_former(files: LeasedFiles) -> None:
    hold = files.detach_hold()
    number = _open()
    with LeasedFiles([FileRole(role="hold")], [number]).with_hold(hold) as fresh:
        assert fresh.hold == number
        assert hold.hold == CLOSED


def test_forgotten_files_are_closed_with_a_warning() -> None:
    before = open_fds()
    with pytest.warns(ResourceWarning, match="unclosed <LeasedFiles hold="):
        LeasedFiles(ROLES[:1], [_open()])
    assert open_fds() == before


def test_as_many_roles_as_fds() -> None:
    with pytest.raises(ValueError, match="1 roles for 0 fds"):
        LeasedFiles(ROLES[:1], [])
