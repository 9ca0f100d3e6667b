"""What cannot be read is not gone: it is known as it was, and looked at again."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from isod.daemon.store import Store
from isod.daemon.stretch import run_stretch
from isod.daemon.watcher import Watcher
from isod.daemon.world import World
from isod.kernel.port import Watch
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import DEMO
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.kernel.tree import ShortageError, UnreadableError
from isod.model.address import Address
from isod.model.host import Device, Group, HostChange, HostSnapshot
from isod.model.reason import Reason
from isod.model.step import Bind, Restore, Step, StepResult
from tests.unit.core.build import device, host

from .test_connections import Log

NIC = device("01:00.0", 1, "e1000e")
DISK = device("02:00.0", 2, "nvme")
HOST = host(NIC, DISK)
SOON = 0.001
SHORT = [
    ShortageError("/sys/bus/pci/devices: Too many open files"),
    OSError(errno.EAGAIN, "Resource temporarily unavailable"),
]
UNREADABLE = [*SHORT, UnreadableError("/sys/bus/pci/devices/0000:01:00.0/class: I/O error")]


class News:
    """A watch that says what the test says. Owns a pipe."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self._changes: list[HostChange] = []

    def tell(self, change: HostChange) -> None:
        self._changes.append(change)
        os.write(self._writing, b"x")

    def filenos(self) -> tuple[int, ...]:
        return (self._reading,)

    def read(self) -> HostChange:
        os.read(self._reading, 1)
        return self._changes.pop(0)

    def watch_groups(self, groups: Collection[int]) -> None:
        pass

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class ShortKernel(SimulatedKernel):
    """Shows what is in ``shows``, but for as long as ``lacks`` says why it cannot."""

    def __init__(self, directory: Path) -> None:
        build(directory, DEMO)
        super().__init__(directory)
        self.news = News()
        self.shows = HOST
        self.lacks: Exception | None = None
        self.looks = 0

    def watch(self) -> Watch:
        return self.news

    def snapshot(self, sequence: int) -> HostSnapshot:
        self._look()
        return self.shows

    def look(self, address: Address) -> Device | None:
        self._look()
        return self.shows.devices.get(address)

    def look_group(self, number: int) -> Group | None:
        return self.shows.groups.get(number)

    def run(self, step: Step) -> StepResult:
        return StepResult()

    def _look(self) -> None:
        self.looks += 1
        if self.lacks is not None:
            raise self.lacks


class Heard(Log):
    """A log that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._more = trio.Event()

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        super().record(kind, message, **fields)
        self._more.set()

    async def until(self, text: str) -> None:
        with trio.fail_after(30):
            while not any(text in line for line in self.lines):
                self._more = trio.Event()
                await self._more.wait()


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[tuple[World, ShortKernel, Heard]]:
    store, kernel, log = Store(folder / "state"), ShortKernel(folder / "host"), Heard()
    world = World(store, log, HOST)
    watcher = Watcher(kernel, world, patience=SOON)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.run)
            yield world, kernel, log
            nursery.cancel_scope.cancel()
    finally:
        watcher.close()
        kernel.close()
        store.close()


@pytest.mark.parametrize("lacks", UNREADABLE, ids=lambda error: type(error).__name__)
async def test_a_device_that_cannot_be_read_stays_until_it_can(
    lacks: Exception, tmp_path: Path
) -> None:
    async with watching(tmp_path) as (world, kernel, log):
        kernel.lacks = lacks
        kernel.news.tell(HostChange(addresses=frozenset({NIC.address})))
        await log.until("1 devices cannot be read, 01:00.0 since")
        assert world.snapshot.devices[NIC.address] == replace(NIC, unsettled=True)
        assert set(world.snapshot.groups) == {1, 2}
        kernel.shows = host(replace(NIC, driver="vfio-pci"), DISK)
        tried = kernel.looks
        with trio.fail_after(30):
            while kernel.looks < tried + 5:
                await trio.lowlevel.checkpoint()
        kernel.lacks = None
        await log.until("all devices can be read again")
        assert world.snapshot.devices == kernel.shows.devices
        assert len(log.lines) == 2, "it is said once, however often it is tried"


@pytest.mark.parametrize("lacks", SHORT, ids=lambda error: type(error).__name__)
async def test_a_rescan_that_sees_nothing_changes_nothing(lacks: Exception, tmp_path: Path) -> None:
    async with watching(tmp_path) as (world, kernel, log):
        kernel.lacks = lacks
        kernel.news.tell(HostChange(rescan=True))
        await log.until("the devices cannot be looked at, what is known of them holds")
        assert world.snapshot.devices == HOST.devices
        kernel.shows = host(DISK)
        kernel.lacks = None
        await log.until("all devices can be read again")
        assert set(world.snapshot.devices) == {DISK.address}
        assert len(log.lines) == 2


async def test_what_a_rescan_leaves_unread_is_looked_at_again(tmp_path: Path) -> None:
    """Of one the class could not be read, of another its group: neither is gone."""
    async with watching(tmp_path) as (world, kernel, log):
        odd: dict[Address | int, str] = {
            NIC.address: "class: I/O error",
            2: "type: I/O error",
        }
        kernel.shows = replace(host(), devices={DISK.address: DISK}, unread=odd)
        await trio.lowlevel.checkpoint()
        world.replace_host(kernel.shows, world.begin_look())
        assert world.snapshot.devices[NIC.address] == replace(NIC, unsettled=True)
        assert world.snapshot.devices[DISK.address].unsettled
        assert set(world.snapshot.groups) == {2}, "the group of the other one is gone"
        kernel.shows = HOST
        await log.until("all devices can be read again")
        assert world.snapshot.devices == HOST.devices
        assert world.snapshot.groups == HOST.groups


async def test_one_that_is_gone_when_it_can_be_read_again_is_gone(tmp_path: Path) -> None:
    async with watching(tmp_path) as (world, kernel, log):
        kernel.lacks = SHORT[0]
        kernel.news.tell(HostChange(addresses=frozenset({NIC.address})))
        await log.until("1 devices cannot be read")
        kernel.shows = host(DISK)
        kernel.lacks = None
        await log.until("all devices can be read again")
        assert set(world.snapshot.devices) == {DISK.address}


@pytest.mark.parametrize("lacks", UNREADABLE, ids=lambda error: type(error).__name__)
def test_steps_after_which_nothing_can_be_seen_are_refused(
    lacks: Exception, tmp_path: Path
) -> None:
    """A grant on a device that cannot be looked at is none; what is put back is back."""
    kernel = ShortKernel(tmp_path / "host")
    kernel.lacks = lacks
    came = run_stretch(kernel, (Bind(NIC.address, NIC.generation, "vfio-pci"),), lambda: 7)
    assert came.failure is not None
    assert came.failure.reason is Reason.kernel
    assert (came.begun, came.look, set(came.unread), came.seen) == (1, 7, {NIC.address}, {})
    came = run_stretch(kernel, (Restore(NIC.address, NIC.generation, "e1000e", None),), lambda: 8)
    assert came.failure is None
    assert set(came.unread) == {NIC.address}
    kernel.news.close()
    kernel.close()
