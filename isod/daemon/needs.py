"""What the host needs, looked up anew for each decision."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import trio

from isod.kernel.port import Kernel
from isod.model.critical import CriticalFacts

from .world import World

SECONDS = 5.0
LISTED_SECONDS = 5.0
_THREADS = 4


class Needs:
    """``facts`` are the latest; no decision uses any that were read before it was asked for.

    They are read in a thread, since another program may keep the kernel's routes locked for a
    while. A look that takes too long leaves nothing known, and so nothing is granted.
    """

    def __init__(self, kernel: Kernel, world: World, nursery: trio.Nursery) -> None:
        self.facts = CriticalFacts(unread="not looked up yet")
        self._kernel = kernel
        self._world = world
        self._nursery = nursery
        self._moments = count(1)
        self._begun = 0
        self._read_at: float | None = None
        self._turn = trio.Lock()
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def look(self) -> None:
        """Look, or share a look that began after this call. The caller decides before it waits
        again."""
        asked = next(self._moments)
        async with self._turn:
            if self._begun < asked:
                self._begun = next(self._moments)
                began = trio.current_time()
                self.facts = await self._read()
                self._read_at = began

    async def look_for_a_list(self) -> None:
        """Look unless that was done within LISTED_SECONDS: a list decides nothing, and who asks
        for one page after the other should not have all looked up again for each."""
        age = self.age
        if age is None or age > LISTED_SECONDS:
            await self.look()

    @property
    def age(self) -> float | None:
        """How many seconds ago ``facts`` were read, counted from the beginning of that look; None
        before the first."""
        return None if self._read_at is None else trio.current_time() - self._read_at

    def look_then(self, act: Callable[[], None]) -> None:
        """Look, then do something with the fresh facts."""

        async def run() -> None:
            await self.look()
            act()

        self._nursery.start_soon(run)

    async def _read(self) -> CriticalFacts:
        devices = tuple(self._world.snapshot.devices.values())
        with trio.move_on_after(SECONDS):
            try:
                return await trio.to_thread.run_sync(
                    self._kernel.critical,
                    devices,
                    abandon_on_cancel=True,
                    limiter=self._limiter,
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, it must refuse
                return CriticalFacts(unread=f"{type(error).__name__}: {error}")
        return CriticalFacts(unread="looking it up took too long")
