"""The leases' timers: one for each at most, and only while it is needed."""

from __future__ import annotations

from collections.abc import Callable

import trio

from isod.model.event import Deadline


class Timers:
    """Says ``Deadline`` of a lease when its time is over."""

    def __init__(self, tell: Callable[[Deadline], None], nursery: trio.Nursery) -> None:
        self._tell = tell
        self._nursery = nursery
        self._running: dict[str, trio.CancelScope] = {}

    def start(self, lease: str, seconds: float) -> None:
        """Begin to count. A timer of the same lease that still runs is replaced."""
        self.stop(lease)
        scope = self._running[lease] = trio.CancelScope()
        self._nursery.start_soon(self._run, lease, seconds, scope)

    def stop(self, lease: str) -> None:
        """The timer is not needed any more, if there is one."""
        if (scope := self._running.pop(lease, None)) is not None:
            scope.cancel()

    async def _run(self, lease: str, seconds: float, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(seconds)
            if self._running.get(lease) is scope:
                del self._running[lease]
                self._tell(Deadline(lease))
