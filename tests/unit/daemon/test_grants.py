"""Acquire runs the very plan that explain showed, on the same picture, policy and leases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from isod.core.explain import planned_steps
from isod.core.plan import Plan
from isod.daemon.grants import Grants
from isod.daemon.identify import Identity
from isod.daemon.needs import Needs
from isod.daemon.peers import Peers
from isod.daemon.resets import Resets
from isod.daemon.store import Store
from isod.daemon.world import World
from isod.kernel.simulated import open_host
from isod.model.effect import Effect, Prepare
from isod.model.peer import Peer
from isod.model.policy import Policy
from tests.unit.core.build import acquire, allow, bridge, device, host, policy

HOST = host(
    device("01:00.0", 1, "e1000e"),
    device("01:00.1", 1),
    bridge("03:00.0", 3, "shpchp"),
    device("04:01.0", 3, "vfio-pci"),
    device("04:02.0", 3, "e1000"),
)
RULES: Policy = policy(allow(name="all", scrub="try", take_from=("e1000e", "e1000", "shpchp")))
NOBODY = Identity(Peer(uid=1000, gid=1000, groups=frozenset(), pid=1))


class Silence:
    """A journal that nobody reads."""

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        pass


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(tmp_path / "state")
    world = World(store, Silence(), HOST)
    world.policy = RULES
    yield world
    store.close()


@pytest.mark.parametrize("hand_over", ["iommufd", "group", "nodes"])
@pytest.mark.parametrize("shorts", [("01:00.0",), ("04:02.0",), ("01:00.1", "04:01.0")])
async def test_the_plan_is_the_one_explained(
    world: World, tmp_path: Path, hand_over: str, shorts: tuple[str, ...]
) -> None:
    carried_out: list[Effect] = []
    world.carry_out = carried_out.append
    async with trio.open_nursery() as nursery:
        kernel = open_host(tmp_path / "host")
        needs = Needs(kernel, world, nursery)
        await needs.look()
    grants = Grants(world, {}, lambda: 0.0, Resets(world), needs, Peers(kernel))
    wish = acquire(*shorts, hand_over=hand_over)
    shown = grants.explain(NOBODY, wish)
    assert shown.allowed
    assert not carried_out
    assert not world.ledger.leases
    grants.acquire(NOBODY, wish)
    [prepare] = carried_out
    assert isinstance(prepare, Prepare)
    lease = prepare.lease
    assert planned_steps(Plan(prepare.steps, lease.devices, lease.groups)) == shown.plan
