"""How a lease is delivered when fds run out, and what of one goes on after a restart."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from isod.daemon.cgroups import Cgroups
from isod.daemon.deliveries import Deliveries
from isod.daemon.journal import open_journal
from isod.daemon.outcome import Delivery, Outcome
from isod.daemon.store import Store
from isod.daemon.world import World
from isod.kernel.simulated import open_host
from isod.model.effect import Deliver
from isod.model.event import Granted, Prepared
from isod.model.host import HostSnapshot
from isod.model.lease import Lease, State
from isod.model.reason import Reason, Refusal
from isod.model.step import OpenFile
from tests.unit.core.build import at, device, host, lease_for
from tests.unit.shortage import open_descriptors, room_for

from .test_connections import Log

HOST = host(device("01:00.0", 1, "e1000e"))
IN_THE_MIDDLE = [one for one in State if one.public == "leased"]


@pytest.mark.parametrize("state", State, ids=str)
async def test_a_lease_goes_on_whatever_was_under_way_in_it(state: State, tmp_path: Path) -> None:
    """A device that was being parked, fresh fds that were being opened: the lease stands."""
    store, kernel = Store(tmp_path / "state"), open_host(tmp_path / "host")
    try:
        world = World(store, open_journal(), HostSnapshot())
        lease = replace(lease_for(HOST, "L1", (at("01:00.0"),), None, 0), state=state)
        async with trio.open_nursery() as nursery:
            deliveries = Deliveries(world, Cgroups(kernel, world, nursery), nursery)
            read, written = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            goes_on = deliveries.recover(lease, [read])
            assert goes_on == (state in IN_THE_MIDDLE)
            nursery.cancel_scope.cancel()
        os.close(written)
        if not goes_on:
            os.close(read)
    finally:
        kernel.close()
        store.close()


@asynccontextmanager
async def leased(folder: Path) -> AsyncIterator[tuple[World, Deliveries, Lease]]:
    """A lease that stands, and is about to be delivered."""
    store, kernel = Store(folder / "state"), open_host(folder / "host")
    try:
        world = World(store, Log(), HOST)
        world.carry_out = lambda effect: None
        lease = lease_for(HOST, "L1", (at("01:00.0"),), None, 0)
        world.apply(Granted(lease))
        world.apply(Prepared(lease.id, (), lease.devices))
        async with trio.open_nursery() as nursery:
            deliveries = Deliveries(world, Cgroups(kernel, world, nursery), nursery)
            yield world, deliveries, world.ledger.leases["L1"]
            nursery.cancel_scope.cancel()
    finally:
        kernel.close()
        store.close()


@pytest.mark.parametrize("room", [0, 1, 2])
async def test_a_lease_whose_hold_cannot_be_had_is_refused_and_nothing_leaks(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pipe, or a pipe and no copy of it for the service manager."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    async with leased(tmp_path) as (world, deliveries, lease):
        before = open_descriptors()
        device = OpenFile("device", os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        outcome = deliveries.outcomes["L1"] = Outcome()
        with room_for(room):
            deliveries.deliver(Deliver(lease, (device,)))
        answer = await outcome.take()
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.kernel
        assert answer.details["errno"] == errno.EMFILE
        await wait_all_tasks_blocked()
        assert world.ledger.leases["L1"].state is State.draining
        assert open_descriptors() == before


@pytest.mark.parametrize("room", [0, 1, 2])
async def test_no_fresh_hold_is_no_end_of_a_lease_that_has_one(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    async with leased(tmp_path) as (world, deliveries, lease):
        first = Outcome()
        deliveries.outcomes["L1"] = first
        deliveries.deliver(Deliver(lease, ()))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
        again = deliveries.outcomes["L1"] = Outcome()
        with room_for(room):
            deliveries.deliver(Deliver(lease, (), again=True))
        answer = await again.take()
        assert isinstance(answer, Refusal)
        await wait_all_tasks_blocked()
        assert world.ledger.leases["L1"].state is State.leased
        assert deliveries.holds("L1") == 1
        delivery = await first.take()
        assert isinstance(delivery, Delivery)
        delivery.close()


async def test_a_hold_that_the_service_manager_cannot_take_is_delivered_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not outlive a restart, and the log says so."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    async with leased(tmp_path) as (world, deliveries, lease):
        outcome = deliveries.outcomes["L1"] = Outcome()
        deliveries.deliver(Deliver(lease, ()))
        delivery = await outcome.take()
        assert isinstance(delivery, Delivery)
        delivery.close()
        await wait_all_tasks_blocked()
        await deliveries.let_go("L1")
        assert isinstance(world.journal, Log)
        assert "step.failed: the service manager did not keep the hold" in world.journal.lines
