"""Keeps the ledger true to the host: compares it with each new picture, and tells it what differs.

Many changes come at once, so they are looked at together. A device that came into a leased
isolation group is judged like a sibling at a grant: with what the host needs, read after it came.
"""

from __future__ import annotations

import trio

from isod.core.newcomer import judge_newcomer
from isod.core.reconcile import Newcomer, newcomers, news
from isod.model.address import Address
from isod.model.event import Event, Stranger
from isod.model.host import Device
from isod.model.lease import Lease
from isod.model.reason import RefusedError

from .needs import Needs
from .resets import Resets
from .world import World

PAUSE_SECONDS = 0.05


class Facts:
    """What was missed before ``run`` runs is found when it does.

    A device that must not be parked is judged again whenever it was looked at again, that is with
    each uevent about it: a network card has a driver, and so looks taken, before its probe has made
    an interface; only then comes ``bind`` (drivers/base/dd.c, driver_bound; seen on 7.2).
    """

    def __init__(self, world: World, needs: Needs, resets: Resets) -> None:
        self._world = world
        self._needs = needs
        self._resets = resets
        self._changed = trio.Event()
        self._changed.set()
        # Every look makes a Device of its own, so that the same one was not looked at since.
        self._refused: dict[tuple[str, Address], Device] = {}
        # What the policy in force may have joined with a lease's groups, and nobody has added.
        self._there: frozenset[tuple[Address, int]] = frozenset()
        self._note_policy()
        world.on_policy.append(self._note_policy)
        world.on_news = self._note

    def _note(self) -> None:
        self._changed.set()

    def _note_policy(self) -> None:
        """Another policy: it may allow what was refused before."""
        self._refused.clear()
        devices = self._world.snapshot.devices.values()
        self._there = frozenset((one.address, one.generation) for one in devices)

    async def run(self) -> None:
        """Follow the host until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while events := news(self._world.isolation, self._world.ledger):
                for event in events:
                    self._world.apply(event)
            if found := self._newcomers():
                asked = [one.device for one in found]
                await self._needs.look()
                # The world has gone on meanwhile: judge what is there now, and leave to the next
                # time what was looked at since then.
                for newcomer in self._newcomers():
                    same = any(newcomer.device is device for device in asked)
                    if same and newcomer.lease == self._lease(newcomer):
                        self._world.apply(self._judged(newcomer))
            await trio.sleep(PAUSE_SECONDS)

    def _newcomers(self) -> tuple[Newcomer, ...]:
        found = newcomers(self._world.isolation, self._world.ledger, strangers=True)
        known = {(one.lease.id, one.device.address) for one in found}
        self._refused = {name: one for name, one in self._refused.items() if name in known}
        return tuple(
            one
            for one in found
            if self._refused.get((one.lease.id, one.device.address)) is not one.device
        )

    def _lease(self, newcomer: Newcomer) -> Lease | None:
        return self._world.ledger.leases.get(newcomer.lease.id)

    def _judged(self, newcomer: Newcomer) -> Event:
        lease, device = newcomer.lease, newcomer.device
        added = (device.address, device.generation) not in self._there
        try:
            return judge_newcomer(self._resets.bench(self._needs.facts), newcomer, added=added)
        except RefusedError as error:
            self._refused[lease.id, device.address] = device
            why = error.refusal.message
            return Stranger(lease.id, device.address, device.generation, why)
