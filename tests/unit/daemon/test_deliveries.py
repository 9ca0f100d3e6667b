"""What of a lease goes on after a restart."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from isod.daemon.cgroups import Cgroups
from isod.daemon.deliveries import Deliveries
from isod.daemon.journal import open_journal
from isod.daemon.store import Store
from isod.daemon.world import World
from isod.kernel.simulated import open_host
from isod.model.host import HostSnapshot
from isod.model.lease import State
from tests.unit.core.build import at, device, host, lease_for

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
