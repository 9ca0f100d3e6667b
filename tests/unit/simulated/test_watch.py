"""The watch reports what other processes did, and closes of the groups that it was told of."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from isod.kernel.port import Watch
from isod.kernel.simulated import calls, journal, outside
from isod.model.address import Address

from .played import Child, Played, ready


@pytest.fixture
def watch(demo: Played) -> Iterator[Watch]:
    found = demo.kernel.watch()
    yield found
    found.close()


def wakes(watch: Watch) -> bool:
    return any(ready(number, 0) for number in watch.filenos())


def test_quiet_when_nothing_happens(demo: Played, watch: Watch) -> None:
    watch.watch_groups([12, 13])
    demo.kernel.snapshot(0)
    demo.use("02:00.0")
    assert not wakes(watch)
    change = watch.read()
    assert (change.addresses, change.nodes, change.rescan) == (frozenset(), frozenset(), False)


def test_another_process_binds(demo: Played, watch: Watch) -> None:
    def play(_: socket.socket) -> None:
        outside.unbind_driver(demo.directory, "0000:02:00.0")

    assert Child(play).end() == 0
    assert wakes(watch)
    assert watch.read().addresses == {Address.parse("02:00.0")}
    assert not wakes(watch)


def test_hot_plug(demo: Played, watch: Watch) -> None:
    outside.unplug(demo.directory, "0000:02:00.0")
    assert watch.read().addresses == {Address.parse("02:00.0")}
    outside.replug(demo.directory, "0000:02:00.0")
    assert watch.read().addresses == {Address.parse("02:00.0")}


def test_closes_of_watched_groups_only(demo: Played, watch: Watch) -> None:
    demo.give("01:00.0", "01:00.1", "02:00.0")
    watch.read()
    watch.watch_groups([13])
    os.close(demo.open_cdev("01:00.0"))
    assert not wakes(watch)
    os.close(demo.open_cdev("02:00.0"))
    cdev = demo.device("02:00.0").cdev
    assert watch.read().nodes == {f"vfio/devices/{cdev}"}
    watch.watch_groups([12])
    os.close(demo.open_cdev("02:00.0"))
    os.close(calls.open_group(demo.directory, 12))
    assert watch.read().nodes == {"vfio/12"}
    watch.watch_groups([])
    os.close(calls.open_group(demo.directory, 12))
    assert watch.read().nodes == frozenset()


def test_the_last_copy_counts(demo: Played, watch: Watch) -> None:
    demo.give("02:00.0")
    watch.watch_groups([13])
    watch.read()

    def play(theirs: socket.socket) -> None:
        theirs.send(b"holds")
        theirs.recv(1)

    opened = demo.open_cdev("02:00.0")
    child = Child(play)
    assert child.hear() == b"holds"
    os.close(opened)
    assert not wakes(watch)
    child.kill()
    assert ready(watch.filenos()[0])
    assert watch.read().nodes == {"vfio/devices/vfio0"}


def test_a_device_by_group_closes_its_group(demo: Played, watch: Watch) -> None:
    demo.give("02:00.0")
    watch.watch_groups([13])
    container, group = demo.in_container(13)
    device = calls.get_device_fd(group, "0000:02:00.0")
    os.close(group)
    os.close(container)
    watch.read()
    os.close(device)
    assert watch.read().nodes == {"vfio/13"}


def test_looking_at_open_files_is_no_close(demo: Played, watch: Watch) -> None:
    demo.give("02:00.0")
    watch.watch_groups([13])
    iommufd = demo.iommufd()
    device = demo.bound("02:00.0", iommufd)
    watch.read()
    demo.use("02:00.0")
    demo.kernel.snapshot(0)
    calls.hot_reset_info(device)
    assert not wakes(watch)
    os.close(device)
    os.close(iommufd)
    watch.read()
    demo.use("02:00.0")
    assert not wakes(watch)


def test_a_journal_that_was_replaced_means_rescan(
    demo: Played, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LONGEST", 100)
    for _ in range(10):
        journal.write(demo.directory / "journal", "0000:02:00.0")
    change = watch.read()
    assert change.rescan
    assert Address.parse("02:00.0") in change.addresses
    journal.write(demo.directory / "journal", "0000:01:00.0")
    assert watch.read().addresses == {Address.parse("01:00.0")}


def test_two_watches_do_not_take_each_others_news(demo: Played, watch: Watch) -> None:
    other = demo.kernel.watch()
    outside.unbind_driver(demo.directory, "0000:02:00.0")
    assert watch.read().addresses == other.read().addresses != frozenset()
    other.close()
