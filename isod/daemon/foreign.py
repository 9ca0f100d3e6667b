"""Which of the devices that nobody has are open in a program outside isod, as far as is seen."""

from __future__ import annotations

import trio

from isod.kernel.port import Kernel
from isod.model.address import Address
from isod.model.lease import LeaseDevice

from .world import World

LISTED_SECONDS = 5.0


class Foreign:
    """``held`` is for lists and decides nothing: a grant probes anew.

    Only what can be read without touching anything is looked at: ``enable`` of devices on vfio
    drivers. Opening groups to see whether that works would keep others from opening them for a
    moment, so a group without an open device, and an unbound cdev, are not seen here.
    """

    def __init__(self, kernel: Kernel, world: World) -> None:
        self.held: frozenset[Address] = frozenset()
        self._kernel = kernel
        self._world = world
        self._read_at: float | None = None
        self._turn = trio.Lock()

    async def look_for_a_list(self) -> None:
        """Look, unless that was done within LISTED_SECONDS."""
        async with self._turn:
            now = trio.current_time()
            if self._read_at is None or now - self._read_at > LISTED_SECONDS:
                self.held = await self._look()
                self._read_at = now

    async def _look(self) -> frozenset[Address]:
        owner_of = self._world.ledger.owner_of
        free = tuple(
            LeaseDevice(device.address, device.generation, device.group, "requested")
            for device in self._world.snapshot.devices.values()
            if device.on_vfio and device.group is not None and owner_of(device.group) is None
        )
        if not free:
            return frozenset()
        use = await trio.to_thread.run_sync(self._kernel.use, free, ())
        return frozenset(use.open)
