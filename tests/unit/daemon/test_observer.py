"""What has become different is told: of devices, and of leases' answers to hot resets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from isod.daemon.observer import PAUSE_SECONDS, Observer
from isod.daemon.resets import Resets
from isod.daemon.store import Store
from isod.daemon.subscription import Subscription
from isod.daemon.world import World
from isod.model.event import Ending, Granted, Prepared
from isod.model.host import Device, HostSnapshot
from tests.unit.core.build import bridge, device, host

from .news import Records, identity, lease, sent

NIC = device("01:00.0", 1, "vfio-pci")
SIBLING = device("01:00.1", 1, "vfio-pci")
DISK = device("02:00.0", 2, "nvme")
HOST: HostSnapshot = host(bridge("00:01.0", 9), NIC, SIBLING, DISK)


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[World]:
    store = Store(tmp_path)
    ports = {
        address: replace(one, secondary_bus="0000:01" if one.is_bridge else None)
        for address, one in HOST.devices.items()
    }
    world = World(store, Records(), replace(HOST, devices=ports))
    world.carry_out = lambda effect: None
    nursery.start_soon(Observer(world, Resets(world)).run)
    yield world
    nursery.cancel_scope.cancel()
    store.close()


def subscribed(world: World, *families: str) -> Subscription:
    mine = Subscription("S1", identity(), families, 1000)
    world.publisher.subscriptions.append(mine)
    return mine


def see(world: World, *devices: Device) -> None:
    world.note({one.address: one for one in devices}, {}, world.begin_look())


def grant(world: World) -> None:
    begun = lease("L1", 1000, "01:00.0", "01:00.1")
    world.apply(Granted(replace(begun, state=begun.state.preparing)))
    world.apply(Prepared("L1", (), ()))


async def told(mine: Subscription) -> list[dict[str, Any]]:
    await trio.sleep(2 * PAUSE_SECONDS)
    return await sent(mine)


# --- devices ------------------------------------------------------------------------------------


async def test_of_what_was_there_before_nothing_is_told(
    autojump_clock: MockClock, world: World
) -> None:
    mine = subscribed(world, "device")
    see(world, NIC)
    world.replace_host(world.snapshot, world.begin_look())
    assert await told(mine) == []


async def test_another_driver_is_told(autojump_clock: MockClock, world: World) -> None:
    mine = subscribed(world, "device")
    see(world, replace(DISK, driver=None))
    (event,) = await told(mine)
    assert (event["kind"], event["device"]) == ("device.changed", "pci:0000:02:00.0")
    assert (event.get("driver"), event["state"]) == (None, "free")


async def test_another_state_is_told(autojump_clock: MockClock, world: World) -> None:
    mine = subscribed(world, "device")
    grant(world)
    events = await told(mine)
    assert [(one["device"], one["state"]) for one in events] == [
        ("pci:0000:01:00.0", "leased"),
        ("pci:0000:01:00.1", "leased"),
    ]
    world.apply(Ending("L1", "released"))
    assert {one["state"] for one in await told(mine)} == {"draining"}


async def test_many_changes_of_a_moment_are_told_as_one(
    autojump_clock: MockClock, world: World
) -> None:
    mine = subscribed(world, "device")
    for driver in (None, "vfio-pci", None, "e1000e"):
        see(world, replace(DISK, driver=driver))
    (event,) = await told(mine)
    assert event["driver"] == "e1000e"


async def test_what_nobody_is_shown_is_not_told(autojump_clock: MockClock, world: World) -> None:
    mine = subscribed(world, "device")
    see(world, replace(DISK, enabled=1))
    assert await told(mine) == []


async def test_a_device_that_goes_and_comes(autojump_clock: MockClock, world: World) -> None:
    mine = subscribed(world, "device")
    world.note({DISK.address: None}, {}, world.begin_look())
    (event,) = await told(mine)
    assert (event["kind"], event["generation"]) == ("device.removed", DISK.generation)
    see(world, replace(DISK, generation=5))
    (event,) = await told(mine)
    assert (event["kind"], event["generation"]) == ("device.added", 5)


async def test_another_device_at_the_same_address_is_another_device(
    autojump_clock: MockClock, world: World
) -> None:
    mine = subscribed(world, "device")
    see(world, replace(DISK, generation=5))
    assert [one["kind"] for one in await told(mine)] == ["device.removed", "device.added"]


# --- answers ------------------------------------------------------------------------------------


async def test_an_answer_that_changes_is_told_with_the_new_one(
    autojump_clock: MockClock, world: World
) -> None:
    mine = subscribed(world, "lease")
    grant(world)
    assert [one["kind"] for one in await told(mine)] == ["lease.granted"]
    see(world, replace(SIBLING, driver=None))
    (event,) = await told(mine)
    assert (event["kind"], event["lease"]) == ("lease.reset_changed", "L1")
    assert event["note"] == "never: 01:00.1 is on no driver"
    assert event["reset"]["hot"] == "never"
    assert event["reset"]["blocked_by"] == ["pci:0000:01:00.1"]
    see(world, SIBLING)
    (event,) = await told(mine)
    assert event["reset"]["hot"] == "permitted_when"
    assert event["reset"]["bind_groups"] == [1]


async def test_a_change_right_behind_the_grant_is_not_missed(
    autojump_clock: MockClock, world: World
) -> None:
    """The grant's reply says the answer of then."""
    mine = subscribed(world, "lease")
    grant(world)
    see(world, replace(SIBLING, driver=None))
    assert [one["kind"] for one in await told(mine)] == ["lease.granted", "lease.reset_changed"]


async def test_changes_elsewhere_are_none_of_the_lease(
    autojump_clock: MockClock, world: World
) -> None:
    grant(world)
    mine = subscribed(world, "lease")
    see(world, replace(DISK, driver=None))
    assert await told(mine) == []


async def test_a_lease_that_ends_has_no_answer_any_more(
    autojump_clock: MockClock, world: World
) -> None:
    grant(world)
    await trio.sleep(1)
    world.apply(Ending("L1", "released"))
    mine = subscribed(world, "lease")
    see(world, replace(SIBLING, driver=None))
    assert await told(mine) == []
