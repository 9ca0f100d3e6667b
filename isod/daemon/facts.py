"""Keeps the ledger true to the host: compares it with each new picture, and tells it what differs.

Many changes come at once, so they are looked at together. A device that was added to a leased
group is judged like a sibling at a grant: with what the host needs, read after it came.
"""

from __future__ import annotations

import trio

from isod.core.newcomer import judge_newcomer
from isod.core.reconcile import Newcomer, newcomers, news
from isod.model.event import Event, Stranger
from isod.model.reason import RefusedError

from .needs import Needs
from .resets import Resets
from .world import World

PAUSE_SECONDS = 0.05


class Facts:
    """What was missed before ``run`` runs is found when it does."""

    def __init__(self, world: World, needs: Needs, resets: Resets) -> None:
        self._world = world
        self._needs = needs
        self._resets = resets
        self._changed = trio.Event()
        self._changed.set()
        world.on_news = self._note

    def _note(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Follow the host until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while found := news(self._world.isolation, self._world.ledger):
                for event in found:
                    self._world.apply(event)
            if self._newcomers():
                await self._needs.look()
                # The world has gone on meanwhile: judge what is there now.
                for newcomer in self._newcomers():
                    if newcomer.lease == self._world.ledger.leases.get(newcomer.lease.id):
                        self._world.apply(self._judged(newcomer))
            await trio.sleep(PAUSE_SECONDS)

    def _newcomers(self) -> tuple[Newcomer, ...]:
        return newcomers(self._world.snapshot, self._world.ledger)

    def _judged(self, newcomer: Newcomer) -> Event:
        lease, device = newcomer.lease, newcomer.device
        try:
            return judge_newcomer(self._resets.bench(self._needs.facts), newcomer)
        except RefusedError as error:
            why = error.refusal.message
            return Stranger(lease.id, device.address, device.generation, why)
