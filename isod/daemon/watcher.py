"""News from the kernel: keeps the host's picture current, and wakes who waits for a close."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import trio

from isod.kernel.port import Kernel
from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot

from .world import World


class Closes:
    """Wakes its waiter at the next close on any watched node."""

    def __init__(self) -> None:
        self._event = trio.Event()

    async def wait(self) -> None:
        """Return at a close since the last call; one in between is not missed."""
        await self._event.wait()
        self._event = trio.Event()

    def wake(self) -> None:
        self._event.set()


class Watcher:
    """Reads the kernel's news for as long as ``run`` runs."""

    def __init__(self, kernel: Kernel, world: World) -> None:
        self._kernel = kernel
        self._world = world
        self._watch = kernel.watch()
        self._waiting: dict[Closes, frozenset[int]] = {}

    @contextmanager
    def closes(self, groups: Iterable[int]) -> Iterator[Closes]:
        """Watch the nodes of these groups. Begin before the probe: what closes after it wakes."""
        closes = Closes()
        self._waiting[closes] = frozenset(groups)
        self._watch_waited()
        try:
            yield closes
        finally:
            del self._waiting[closes]
            self._watch_waited()

    def _watch_waited(self) -> None:
        waited: frozenset[int] = frozenset().union(*self._waiting.values())
        self._watch.watch_groups(waited)

    async def run(self) -> None:
        """Follow the kernel until cancelled."""
        with select.epoll() as ready:
            for descriptor in self._watch.filenos():
                ready.register(descriptor, select.EPOLLIN)
            try:
                while True:
                    await trio.lowlevel.wait_readable(ready.fileno())
                    change = self._watch.read()
                    if change.nodes:
                        for closes in self._waiting:
                            closes.wake()
                    if change.rescan:
                        await self._rescan()
                    elif change.addresses:
                        await self._look(change.addresses)
            finally:
                trio.lowlevel.notify_closing(ready.fileno())

    def close(self) -> None:
        """Let go of the kernel's news, once neither ``run`` nor anybody in ``closes`` is left."""
        self._watch.close()

    async def _rescan(self) -> None:
        look = self._world.begin_look()
        snapshot: HostSnapshot = await trio.to_thread.run_sync(
            self._kernel.snapshot, self._world.snapshot.sequence
        )
        self._world.replace_host(snapshot, look)

    async def _look(self, addresses: frozenset[Address]) -> None:
        before = self._world.groups_touched(addresses)
        number = self._world.begin_look()

        def look() -> tuple[dict[Address, Device | None], dict[int, Group | None]]:
            devices = {address: self._kernel.look(address) for address in addresses}
            now = {d.group for d in devices.values() if d is not None and d.group is not None}
            return devices, {number: self._kernel.look_group(number) for number in before | now}

        devices, groups = await trio.to_thread.run_sync(look)
        self._world.note(devices, groups, number)
