"""Close events, on ordinary files: inotify makes no difference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.kernel.linux.closing import CloseWatch


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    (tmp_path / "vfio/devices").mkdir(parents=True)
    for node in ("vfio/1", "vfio/2", "vfio/devices/vfio0"):
        (tmp_path / node).touch()
    return tmp_path


@pytest.fixture
def watch(dev: Path) -> Iterator[CloseWatch]:
    found = CloseWatch(dev)
    yield found
    found.close()


def test_the_last_close_counts(watch: CloseWatch, dev: Path) -> None:
    watch.watch(["vfio/1", "vfio/devices/vfio0"])
    descriptor = os.open(dev / "vfio/1", os.O_RDWR)
    copy = os.dup(descriptor)
    os.close(descriptor)
    assert watch.read() == frozenset()
    os.close(copy)
    assert watch.read() == {"vfio/1"}
    assert watch.read() == frozenset()


def test_a_new_set_keeps_what_was_queued(watch: CloseWatch, dev: Path) -> None:
    watch.watch(["vfio/1"])
    os.close(os.open(dev / "vfio/1", os.O_RDONLY))
    watch.watch(["vfio/2", "vfio/1"])
    os.close(os.open(dev / "vfio/2", os.O_RDONLY))
    assert watch.read() == {"vfio/1", "vfio/2"}


def test_a_dropped_node_is_heard_no_more(watch: CloseWatch, dev: Path) -> None:
    watch.watch(["vfio/1", "vfio/2"])
    watch.watch(["vfio/2"])
    os.close(os.open(dev / "vfio/1", os.O_RDONLY))
    assert watch.read() == frozenset()


def test_a_node_that_goes_away_is_worth_a_look(watch: CloseWatch, dev: Path) -> None:
    watch.watch(["vfio/1"])
    (dev / "vfio/1").unlink()
    assert watch.read() == {"vfio/1"}
    watch.watch(["vfio/1", "vfio/2"])
    os.close(os.open(dev / "vfio/2", os.O_RDONLY))
    assert watch.read() == {"vfio/2"}


def test_links_are_not_followed(watch: CloseWatch, dev: Path) -> None:
    (dev / "vfio/3").symlink_to(dev / "vfio/1")
    watch.watch(["vfio/3"])
    os.close(os.open(dev / "vfio/1", os.O_RDONLY))
    assert watch.read() == frozenset()
