"""What requests that wait are told, and what a lease lives as long as from then on.

A lease is anchored in a hold, which goes out with its fds; in a cgroup, which is watched; or in
nothing (*explicit*): then it lives until somebody ends it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial

import trio

from isod.model.effect import Deliver, Refuse
from isod.model.event import DeliveryFailed
from isod.model.lease import Lease
from isod.model.reason import Reason, Refusal
from isod.model.step import OpenFile

from . import service
from .cgroups import Cgroups
from .holds import Holds
from .outcome import Delivery, Outcome, close_files
from .world import World


class Deliveries:
    """One per daemon. ``outcomes`` are the requests that wait, by lease."""

    def __init__(self, world: World, cgroups: Cgroups, nursery: trio.Nursery) -> None:
        self._world = world
        self._cgroups = cgroups
        self._nursery = nursery
        self._holds = Holds(world, nursery)
        self.outcomes: dict[str, Outcome] = {}

    def refuse(self, effect: Refuse) -> None:
        """Answer the request that waits, if one does."""
        outcome = self.outcomes.pop(effect.lease.id, None)
        if outcome is not None:
            outcome.set(effect.refusal)

    def turn_away(self, leases: Iterable[str], refusal: Refusal) -> None:
        """Answer those that wait for these leases, whose operations are left to the next start."""
        for lease in leases:
            outcome = self.outcomes.pop(lease, None)
            if outcome is not None:
                outcome.set(refusal)

    def deliver(self, effect: Deliver) -> None:
        """Give the files to the request that waits, and a new hold if the lease is anchored in
        one. The anchor is watched from before the fds leave, so that no end of it is missed."""
        lease = effect.lease
        outcome = self.outcomes.pop(lease.id, None)
        if lease.anchor == "hold":
            self._deliver_with_hold(effect, outcome)
            return
        if lease.cgroup is not None and not effect.again:
            self._cgroups.begin(lease)
        # A hold that nobody took closes; without one the lease has to be told. Fresh fds that
        # nobody took are no reason to end it.
        lost = None if effect.again else partial(self._undelivered, lease.id)
        _answer(outcome, Delivery(lease, effect.files, lost))

    def recover(self, lease: Lease, kept: Sequence[int]) -> bool:
        """After a restart: go on with the lease's anchor, if it stands; False: it does not.
        ``kept`` are its holds that came back, owned here if it does."""
        if lease.state.public != "leased" or lease.ending is not None:
            return False
        if lease.anchor == "hold":
            self._holds.adopt(lease.id, kept)
            return bool(kept)
        if lease.cgroup is not None:
            self._cgroups.begin(lease)
        return not kept

    def holds(self, lease: str) -> int:
        """How many holds of a lease are open."""
        return self._holds.count(lease)

    async def let_go(self, lease: str) -> None:
        """The lease ends for whatever reason: whoever has a hold sees POLLERR on it."""
        self._cgroups.let_go(lease)
        await self._holds.let_go(lease)

    def _deliver_with_hold(self, effect: Deliver, outcome: Outcome | None) -> None:
        lease = effect.lease
        to_keep = outcome is not None and service.present()
        try:
            given, copy = self._begin_hold(lease.id, to_keep=to_keep)
        except OSError as error:
            close_files(effect.files)
            if outcome is not None:
                text = f"no pipe for the hold: {error.strerror}"
                outcome.set(Refusal(Reason.kernel, text, {"errno": error.errno}))
            if not effect.again:
                self._undelivered(lease.id)
            return
        delivery = Delivery(lease, (OpenFile("hold", given), *effect.files))
        if outcome is not None and copy is not None:
            self._nursery.start_soon(self._deliver_kept, delivery, outcome, copy)
        else:
            _answer(outcome, delivery)

    def _begin_hold(self, lease: str, *, to_keep: bool) -> tuple[int, int | None]:
        """The write end of a new hold, and a copy of its read end for the service manager if it is
        to keep one; both are the caller's. Raises OSError, and then nothing stays open."""
        watched, given = self._holds.begin(lease)
        try:
            return given, os.dup(watched) if to_keep else None
        except OSError:
            os.close(given)  # whoever watches the read end sees that
            raise

    async def _deliver_kept(self, delivery: Delivery, outcome: Outcome, watched: int) -> None:
        """The service manager has the hold before the fds leave: killed after that, isod finds the
        lease's owner again."""
        lease = delivery.lease.id
        try:
            if not await service.keep(lease, watched):
                self._world.journal.record(
                    "step.failed", "the service manager did not keep the hold", lease=lease
                )
        except BaseException:
            delivery.close()
            raise
        finally:
            os.close(watched)
        outcome.set(delivery)

    def _undelivered(self, lease: str) -> None:
        """Said a moment later: the effects of the event before it come first."""
        self._nursery.start_soon(self._say_undelivered, lease)

    async def _say_undelivered(self, lease: str) -> None:
        self._world.apply(DeliveryFailed(lease))


def _answer(outcome: Outcome | None, delivery: Delivery) -> None:
    if outcome is None:
        delivery.close()
    else:
        outcome.set(delivery)
