"""News from the kernel: keeps the host's picture current, and wakes who waits for a close."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import trio

from isod.kernel.port import Kernel
from isod.kernel.tree import UnreadableError
from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot

from .world import World

AGAIN_SECONDS = 5.0


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
    """Reads the kernel's news for as long as ``run`` runs. What cannot be read is known as it was,
    and looked at again after ``patience`` seconds."""

    def __init__(self, kernel: Kernel, world: World, patience: float = AGAIN_SECONDS) -> None:
        self._kernel = kernel
        self._world = world
        self._patience = patience
        self._again: set[Address] = set()
        self._again_all = self._said = False
        self._unread = trio.Event()
        world.on_unread = self._note_unread
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
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            nursery.start_soon(self._try_again)

    async def _follow(self) -> None:
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

    # --- what could not be read -----------------------------------------------------------------

    def _note_unread(self, unread: Mapping[Address, str]) -> None:
        """Devices to look at again, after a time: nothing tells when what lacks is there again."""
        if unread and not self._said:
            address, why = min(unread.items())
            self._said = True
            self._say(f"{len(unread)} devices cannot be read, {address.short} since: {why}")
        self._again |= unread.keys()
        self._unread.set()

    async def _try_again(self) -> None:
        """Look again at what could not be read, for as long as there is something."""
        while True:
            await self._unread.wait()
            await trio.sleep(self._patience)
            self._unread = trio.Event()
            if self._again_all:
                await self._rescan()
            elif self._again:
                await self._look(frozenset(self._again))
            if self._again_all or self._again:
                self._unread.set()
            elif self._said:
                self._said = False
                self._say("all devices can be read again")

    def _say(self, text: str) -> None:
        self._world.journal.record("daemon", text)

    async def _rescan(self) -> None:
        look = self._world.begin_look()
        self._again_all = False
        self._again.clear()
        try:
            snapshot: HostSnapshot = await trio.to_thread.run_sync(
                self._kernel.snapshot, self._world.snapshot.sequence
            )
        except (UnreadableError, OSError) as error:
            if not self._said:
                self._say(f"the devices cannot be looked at, what is known of them holds: {error}")
            self._again_all = self._said = True
            self._unread.set()
            return
        self._world.replace_host(snapshot, look)

    async def _look(self, addresses: frozenset[Address]) -> None:
        before = self._world.groups_touched(addresses)
        number = self._world.begin_look()
        self._again -= addresses
        unread: dict[Address, str] = {}

        def look() -> tuple[dict[Address, Device | None], dict[int, Group | None]]:
            devices: dict[Address, Device | None] = {}
            groups: dict[int, Group | None] = {}
            for address in addresses:
                try:
                    devices[address] = self._kernel.look(address)
                except (UnreadableError, OSError) as error:
                    unread[address] = str(error)
            now = {d.group for d in devices.values() if d is not None and d.group is not None}
            for group in before | now:
                try:
                    groups[group] = self._kernel.look_group(group)
                except UnreadableError as error:
                    unread.update(dict.fromkeys(addresses, str(error)))
            return devices, groups

        devices, groups = await trio.to_thread.run_sync(look)
        self._world.note(devices, groups, number)
        if unread:
            self._world.note_unread(unread, number)
