"""Keeps on vfio-pci what the policy wants to wait there, in the background, and puts it back.

Whatever changed (a start, a reload, a lease that ended, a device that came), it looks what is due
and lets the ledger begin it. Nothing is tried again in a loop: what failed is left alone until the
device looks otherwise, the policy is loaded again, or, for what could not be put back because a
program has it open, ``RETRY_SECONDS`` have passed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import trio

from isod.core.ahead import Looks, concerns, due, looks
from isod.kernel.port import Kernel
from isod.model.address import Address
from isod.model.ahead import (
    BindAhead,
    Bound,
    Keep,
    Kept,
    KeptFound,
    NoLongerKept,
    NotBound,
    NotPutBack,
    PutBack,
    TakeBack,
    WasPutBack,
)
from isod.model.lease import LeaseDevice
from isod.model.reason import Reason, Refusal

from .executor import Executor
from .needs import Needs
from .resets import Resets
from .world import World

RETRY_SECONDS = 60.0


class Ahead:
    """One per daemon. ``recover`` once, then it is told of changes by the world."""

    def __init__(
        self,
        kernel: Kernel,
        world: World,
        executor: Executor,
        needs: Needs,
        resets: Resets,
        nursery: trio.Nursery,
    ) -> None:
        self._kernel = kernel
        self._world = world
        self._executor = executor
        self._needs = needs
        self._resets = resets
        self._nursery = nursery
        self._left_alone: dict[Address, Looks] = {}
        self._looking = False
        self._stopping = False

    def stop(self) -> None:
        """Begin nothing any more; the next start goes on from the rows."""
        self._stopping = True

    def recover(self, rows: Sequence[Kept]) -> None:
        """See what has become of what the rows of before tell of."""
        world = self._world
        for kept in rows:
            world.apply(KeptFound(kept))
        world.carry_out_ahead = self._carry_out
        world.on_change.append(self._look_at)
        world.on_policy.append(self._look_at_all)
        self._look_at_all()

    def _look_at_all(self) -> None:
        """Another policy: what has failed may be tried again."""
        self._left_alone.clear()
        self._world.ledger.shelf.forgive()
        self._look_at(self._world.snapshot.devices.keys() | self._world.ledger.shelf.rows.keys())

    def _look_at(self, changed: Collection[Address]) -> None:
        """These devices may be different now, or in other hands. Most changes are of no interest:
        the host's needs are looked up only for what may have to be done."""
        world = self._world
        if self._looking or self._stopping or not changed:
            return
        if concerns(world.policy, world.snapshot, world.ledger, self._left_alone, changed):
            self._looking = True
            self._needs.look_then(self._act)

    def _act(self) -> None:
        self._looking = False
        if self._stopping:
            return
        world = self._world
        found = due(self._resets.bench(self._needs.facts), self._left_alone)
        for address in found.forget:
            self._leave_alone(address)
            world.apply(NoLongerKept(address))
        for address in found.put_back:
            world.apply(PutBack(address))
        for kept in found.keep:
            world.apply(Keep(kept))

    def _leave_alone(self, address: Address) -> None:
        self._left_alone[address] = looks(self._world.snapshot.devices.get(address))

    # --- operations -----------------------------------------------------------------------------

    def _carry_out(self, effect: BindAhead | TakeBack) -> None:
        if isinstance(effect, BindAhead):
            self._executor.begin(self._bind, effect)
        else:
            self._executor.begin(self._take_back, effect)

    async def _bind(self, effect: BindAhead) -> None:
        address = effect.kept.address
        refusal = await self._executor.run(effect.steps)
        if refusal is None:
            self._world.apply(Bound(address))
            # While it was being bound it was left out of every look: the policy may be another.
            self._look_at([address])
            return
        stranded = await self._executor.run(effect.back)
        self._leave_alone(address)
        self._world.apply(NotBound(address, refusal, stranded))

    async def _take_back(self, effect: TakeBack) -> None:
        """A fence disturbs whoever has the device open, so the probes go first."""
        kept = effect.kept
        use = await trio.to_thread.run_sync(self._kernel.use, (_as_leased(kept),), (kept.group,))
        if use.idle:
            refusal = await self._executor.run(effect.steps)
        else:
            what = f"{kept.address.short} is open in a program outside isod"
            refusal = Refusal(Reason.held_outside, what, {"devices": [str(kept.address)]})
        if refusal is None:
            self._world.apply(WasPutBack(kept.address))
            self._look_at([kept.address])
            return
        self._leave_alone(kept.address)
        self._world.apply(NotPutBack(kept.address, refusal))
        self._nursery.start_soon(self._try_again, kept.address)

    async def _try_again(self, address: Address) -> None:
        await trio.sleep(RETRY_SECONDS)
        if self._left_alone.pop(address, None) is not None:
            self._look_at([address])


def _as_leased(kept: Kept) -> LeaseDevice:
    return LeaseDevice(kept.address, kept.generation, kept.group.number, "requested")
