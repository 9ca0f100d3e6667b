"""What the executor leaves behind when something fails that nobody thought of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from isod.daemon.cgroups import Cgroups
from isod.daemon.deliveries import Deliveries
from isod.daemon.executor import Executor
from isod.daemon.needs import Needs
from isod.daemon.peers import Peers
from isod.daemon.store import Store
from isod.daemon.watcher import Watcher
from isod.daemon.world import World
from isod.kernel.port import Pending
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import DEMO
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.model.step import Fence, Step, StepResult
from tests.unit.core.build import at, device, host

from .test_connections import Log

HOST = host(device("01:00.0", 1, "vfio-pci"))


class Stuck:
    """A fence that never ends. Owns a pipe, as a real one does, until it is abandoned."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC)
        self.waited_for = trio.Event()
        self.abandoned = 0

    def fileno(self) -> int:
        self.waited_for.set()
        return self.reading

    def finish(self) -> StepResult:
        raise AssertionError("it has not ended")

    def abandon(self) -> None:
        self.abandoned += 1
        os.close(self.reading)
        os.close(self.writing)


class StuckKernel(SimulatedKernel):
    def __init__(self, directory: Path) -> None:
        build(directory, DEMO)
        super().__init__(directory)
        self.fence = Stuck()

    def start(self, step: Step) -> Pending:
        return self.fence


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_fence_whose_waiting_ends_in_any_way_is_abandoned(how: str, tmp_path: Path) -> None:
    store, kernel = Store(tmp_path / "state"), StuckKernel(tmp_path / "host")
    world = World(store, Log(), HOST)
    watcher = Watcher(kernel, world)
    ended: list[str] = []

    async def run(executor: Executor, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await executor.run((Fence(at("01:00.0"), 1),))
            except trio.ClosedResourceError:
                ended.append("closed")
        if scope.cancelled_caught:
            ended.append("cancelled")

    try:
        async with trio.open_nursery() as nursery:
            deliveries = Deliveries(world, Cgroups(kernel, world, nursery), nursery)
            needs, peers = Needs(kernel, world, nursery), Peers(kernel)
            executor = Executor(kernel, world, watcher, deliveries, peers, needs, nursery)
            scope = trio.CancelScope()
            nursery.start_soon(run, executor, scope)
            await kernel.fence.waited_for.wait()
            await wait_all_tasks_blocked()
            if how == "cancelled":
                scope.cancel()
            else:
                trio.lowlevel.notify_closing(kernel.fence.reading)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert ended == [how]
        assert kernel.fence.abandoned == 1
    finally:
        watcher.close()
        kernel.close()
        store.close()
