"""The holds: pipes that tell when an owner is gone.

The write end goes out with the fds of a lease, inheritable and without any authority; when its
last copy closes, the owner is gone. The read end stays here, and a copy of it with the service
manager, so that a lease outlives a restart of isod.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import trio

from isod.model.event import Ending

from . import service
from .world import World


class Holds:
    """The read ends of all holds. A lease that was opened again has several: the last counts."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self._world = world
        self._nursery = nursery
        self._watched: dict[str, list[trio.CancelScope]] = {}

    def begin(self, lease: str) -> tuple[int, int]:
        """A new pipe: the read end, watched from now on and owned here, and the write end, which
        is the caller's. Raises OSError."""
        watched, given = os.pipe2(os.O_CLOEXEC)
        self._watch(lease, watched)
        return watched, given

    def adopt(self, lease: str, kept: Sequence[int]) -> None:
        """Go on with read ends that the service manager kept; they are owned here from now on."""
        for descriptor in kept:
            os.set_inheritable(descriptor, False)
            self._watch(lease, descriptor)

    async def let_go(self, lease: str) -> None:
        """The lease ends for whatever reason: whoever has a hold sees POLLERR on it."""
        for scope in self._watched.pop(lease, []):
            scope.cancel()
        await service.let_go(lease)

    def _watch(self, lease: str, watched: int) -> None:
        os.set_blocking(watched, False)
        scope = trio.CancelScope()
        self._watched.setdefault(lease, []).append(scope)
        self._nursery.start_soon(self._wait, lease, watched, scope)

    async def _wait(self, lease: str, watched: int, scope: trio.CancelScope) -> None:
        """Wait until the last copy of the hold is closed. Whatever is written into it is thrown
        away: it is a hold, not a channel."""
        with scope:
            await _until_closed(watched)
            holds = self._watched.get(lease, [])
            if scope not in holds:
                return  # the lease ended for another reason in this very moment
            holds.remove(scope)
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
