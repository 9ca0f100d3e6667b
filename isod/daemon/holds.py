"""The holds: pipes that tell when an owner is gone.

The write end goes out with the fds of a lease, inheritable and without any authority; when its
last copy closes, the owner is gone. The read end stays here, and a copy of it with the service
manager, so that a lease outlives a restart of isod.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from isod.model.event import Ending

from . import service
from .world import World


@dataclass(eq=False, slots=True)
class _Watched:
    """A read end, closed when its watch ends."""

    descriptor: int
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Holds:
    """The read ends of all holds. A lease that was opened again has several: the last counts."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self._world = world
        self._nursery = nursery
        self._watched: dict[str, list[_Watched]] = {}

    def begin(self, lease: str) -> tuple[int, int]:
        """A new pipe: the read end, watched from now on and owned here, and the write end, which
        is the caller's. Raises OSError."""
        watched, given = os.pipe2(os.O_CLOEXEC)
        self._watch(lease, watched)
        return watched, given

    def count(self, lease: str) -> int:
        """How many holds of a lease are open somewhere, as the kernel says now: who closes one and
        asks for another at once is not to be told of the one that it has closed."""
        return sum(not _has_hung_up(one.descriptor) for one in self._watched.get(lease, ()))

    def adopt(self, lease: str, kept: Sequence[int]) -> None:
        """Go on with read ends that the service manager kept; they are owned here from now on."""
        for descriptor in kept:
            os.set_inheritable(descriptor, False)
            self._watch(lease, descriptor)

    async def let_go(self, lease: str) -> None:
        """The lease ends for whatever reason: whoever has a hold sees POLLERR on it."""
        for hold in self._watched.pop(lease, []):
            hold.scope.cancel()
        await service.let_go(lease)

    def _watch(self, lease: str, watched: int) -> None:
        os.set_blocking(watched, False)
        hold = _Watched(watched)
        self._watched.setdefault(lease, []).append(hold)
        self._nursery.start_soon(self._wait, lease, hold)

    async def _wait(self, lease: str, hold: _Watched) -> None:
        """Wait until the last copy of the hold is closed. Whatever is written into it is thrown
        away: it is a hold, not a channel."""
        with hold.scope:
            await _until_closed(hold.descriptor)
            holds = self._watched.get(lease, [])
            if hold not in holds:
                return  # the lease ended for another reason in this very moment
            holds.remove(hold)
            if not holds:
                self._world.apply(Ending(lease, "its hold was closed"))


async def _until_closed(watched: int) -> None:
    try:
        while True:
            await trio.lowlevel.wait_readable(watched)
            try:
                if not os.read(watched, 65536):
                    break
            except BlockingIOError:
                continue
    finally:
        trio.lowlevel.notify_closing(watched)
        os.close(watched)


def _has_hung_up(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))
