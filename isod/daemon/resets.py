"""The reset sets of the host as it is now, worked out once for each picture of it."""

from __future__ import annotations

from isod.core.consider import Bench
from isod.core.reset_answer import lease_reset
from isod.core.reset_set import ResetSets
from isod.core.reset_view import reset_set_info
from isod.model.critical import CriticalFacts
from isod.model.lease import Lease
from isod.model.reason import Reason, RefusedError
from isod.model.request import OneDevice
from isod.model.reset import LeaseReset, ResetSetInfo

from .world import World


class Resets:
    """What is known of hot resets."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sets = ResetSets(world.snapshot)

    @property
    def sets(self) -> ResetSets:
        """The sets of the present snapshot; the world makes a new one at every change."""
        if self._sets.snapshot is not self._world.snapshot:
            self._sets = ResetSets(self._world.snapshot)
        return self._sets

    def bench(self, facts: CriticalFacts) -> Bench:
        """The present moment, for a judgement; ``facts`` are what the host needs."""
        world = self._world
        return Bench(world.policy, self.sets, world.ledger, facts, isolation=world.isolation)

    def of_lease(self, lease: Lease) -> LeaseReset:
        return lease_reset(self.sets, lease)

    def show(self, params: OneDevice) -> ResetSetInfo:
        """Raises RefusedError for a device that is not there."""
        device = self._world.snapshot.devices.get(params.address)
        if device is None:
            raise RefusedError(Reason.not_found, f"there is no device {params.address.short}")
        return reset_set_info(self.sets, device, self._world.ledger)
