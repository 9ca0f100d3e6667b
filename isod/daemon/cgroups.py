"""The cgroups that leases are anchored in: an empty one is an owner that is gone."""

from __future__ import annotations

from functools import partial

import trio

from isod.kernel.port import Kernel
from isod.model.event import Ending
from isod.model.lease import Lease
from isod.model.peer import Cgroup

from .world import World

LOOK_SECONDS = 5.0


class Cgroups:
    """Says Ending when a lease's cgroup is empty or gone."""

    def __init__(self, kernel: Kernel, world: World, nursery: trio.Nursery) -> None:
        """Raises OSError."""
        self._kernel = kernel
        self._world = world
        self._nursery = nursery
        self._watched: dict[str, Cgroup] = {}
        self._watch = kernel.watch_cgroups()

    def begin(self, lease: Lease) -> None:
        """Watch the lease's cgroup, and look at it once: it may have become empty before."""
        assert lease.cgroup is not None, "anchored in no cgroup"
        self._watched[lease.id] = lease.cgroup
        self._watch.add(lease.cgroup)
        self._nursery.start_soon(self._look, {lease.id: lease.cgroup})

    def let_go(self, lease: str) -> None:
        """The lease ends for whatever reason."""
        cgroup = self._watched.pop(lease, None)
        if cgroup is not None and cgroup not in self._watched.values():
            self._watch.remove(cgroup)

    async def run(self) -> None:
        """Follow the cgroups until cancelled: at the kernel's word, and now and then without."""
        descriptor = self._watch.fileno()
        try:
            while True:
                with trio.move_on_after(LOOK_SECONDS):
                    await trio.lowlevel.wait_readable(descriptor)
                self._watch.read()
                if self._watched:
                    await self._look(dict(self._watched))
        finally:
            trio.lowlevel.notify_closing(descriptor)
            self._watch.close()

    async def _look(self, cgroups: dict[str, Cgroup]) -> None:
        empty = await trio.to_thread.run_sync(partial(_empty, self._kernel, set(cgroups.values())))
        for lease, cgroup in cgroups.items():
            # It may have ended for another reason meanwhile.
            if cgroup in empty and self._watched.get(lease) == cgroup:
                self._world.apply(Ending(lease, f"its cgroup {cgroup.path} is empty"))


def _empty(kernel: Kernel, cgroups: set[Cgroup]) -> set[Cgroup]:
    """In a thread: those that are surely empty. Of what cannot be told the next look decides."""
    found = set()
    for cgroup in cgroups:
        try:
            if not kernel.is_populated(cgroup):
                found.add(cgroup)
        except OSError:
            continue
    return found
