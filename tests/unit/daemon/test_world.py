"""The host's picture: looks run beside each other, and a late answer must not undo a later look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isod.daemon.journal import StreamJournal
from isod.daemon.store import Store
from isod.daemon.world import World
from tests.unit.core.build import device, host

NIC = device("01:00.0", 1, "e1000e")
GIVEN = replace(NIC, driver="vfio-pci", driver_override="vfio-pci")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(tmp_path)
    yield World(store, StreamJournal(), host(NIC))
    store.close()


def test_a_look_counts_from_its_beginning(world: World) -> None:
    early, late = world.begin_look(), world.begin_look()
    world.note({NIC.address: NIC}, {}, late)
    world.note({NIC.address: GIVEN}, {}, early)
    assert world.snapshot.devices[NIC.address] == NIC


def test_a_later_look_counts(world: World) -> None:
    world.note({NIC.address: GIVEN}, {}, world.begin_look())
    assert world.snapshot.devices[NIC.address] == GIVEN
    world.note({NIC.address: None}, {}, world.begin_look())
    assert NIC.address not in world.snapshot.devices


def test_a_slow_rescan_leaves_what_was_seen_since(world: World) -> None:
    other = device("02:00.0", 2)
    rescan = world.begin_look()
    world.note({NIC.address: GIVEN, other.address: None}, {1: None}, world.begin_look())
    world.replace_host(host(NIC, other), rescan)
    assert world.snapshot.devices == {NIC.address: GIVEN}
    assert set(world.snapshot.groups) == {2}


def test_a_rescan_forgets_what_is_gone(world: World) -> None:
    world.replace_host(host(), world.begin_look())
    assert world.snapshot.devices == {}
    assert world.snapshot.groups == {}
