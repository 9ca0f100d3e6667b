"""Cgroups on a tree of plain files; the lab has real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isod.kernel.linux.cgroup import (
    LinuxCgroupWatch,
    end_cgroup,
    is_populated,
    parse_membership,
)
from isod.model.peer import Cgroup
from isod.model.reason import Reason, RefusedError

PATH = "/machine.slice/vm.scope"


@pytest.fixture(params=["sys/fs/cgroup", "sys/fs/cgroup/unified"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The directory of a cgroup with a process in it, mounted in either place."""
    mount: Path = tmp_path / request.param
    place = mount / PATH.lstrip("/")
    place.mkdir(parents=True)
    (mount / "cgroup.controllers").touch()
    (place / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (place / "cgroup.kill").touch()
    return place


def named(place: Path) -> Cgroup:
    return Cgroup(PATH, place.stat().st_ino)


def test_it_is_populated_until_its_last_process_is_gone(place: Path, tmp_path: Path) -> None:
    assert is_populated(tmp_path, named(place))
    (place / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    assert not is_populated(tmp_path, named(place))


def test_a_change_wakes(place: Path, tmp_path: Path) -> None:
    watch = LinuxCgroupWatch(tmp_path)
    watch.add(named(place))
    os.set_blocking(watch.fileno(), False)
    (place / "cgroup.events").write_text("populated 0\n")
    assert os.read(watch.fileno(), 4096)
    watch.read()
    watch.remove(named(place))
    watch.remove(named(place))
    watch.close()


def test_one_that_is_gone_is_empty_and_ended(place: Path, tmp_path: Path) -> None:
    cgroup = Cgroup("/machine.slice/other.scope", 7)
    assert not is_populated(tmp_path, cgroup)
    end_cgroup(tmp_path, cgroup)


def test_another_of_the_same_name_is_left_alone(place: Path, tmp_path: Path) -> None:
    stranger = Cgroup(PATH, place.stat().st_ino + 1)
    assert not is_populated(tmp_path, stranger)
    end_cgroup(tmp_path, stranger)
    assert (place / "cgroup.kill").read_text() == ""


def test_ending_writes_to_cgroup_kill(place: Path, tmp_path: Path) -> None:
    end_cgroup(tmp_path, named(place))
    assert (place / "cgroup.kill").read_text() == "1"


def test_what_cannot_be_told_is_not_taken_for_empty(place: Path, tmp_path: Path) -> None:
    (place / "cgroup.events").write_text("frozen 0\n")
    with pytest.raises(OSError, match="does not say"):
        is_populated(tmp_path, named(place))


def test_a_link_in_its_place_is_not_followed(place: Path, tmp_path: Path) -> None:
    link = place.with_name("link.scope")
    link.symlink_to(place)
    linked = Cgroup("/machine.slice/link.scope", place.stat().st_ino)
    assert not is_populated(tmp_path, linked)
    end_cgroup(tmp_path, linked)
    assert (place / "cgroup.kill").read_text() == ""


def test_the_path_is_the_whole_line() -> None:
    """A name may hold anything but a newline; nothing in it ends the line."""
    text = "1:cpu:/x\n0::/user.slice/a\x0c\u2028b c\n".encode()
    assert parse_membership(text) == "/user.slice/a\x0c\u2028b c"


@pytest.mark.parametrize("text", [b"", b"1:name=systemd:/a\n", b"0::/a\xff\n"])
def test_what_cannot_be_named_is_refused(text: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_membership(text)
    assert refused.value.refusal.reason is Reason.unsupported
