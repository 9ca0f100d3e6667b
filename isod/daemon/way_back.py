"""The last part of a lease's way back: scrub, and every driver as it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from isod.core.reset_set import ResetSets
from isod.core.scrub import in_the_way
from isod.model.address import Address
from isod.model.effect import GiveBack
from isod.model.event import Returned, ScrubAgain, ScrubBlocked
from isod.model.lease import Lease
from isod.model.reason import Reason, Refusal
from isod.model.step import Bind, Fence, HotReset, Reset, Restore, Step

from .stretch import Run, address_of
from .under_way import UnderWay
from .world import World

RETRY_SECONDS = 5.0
PATIENCE_SECONDS = 10.0


class WayBack:
    """Carries GiveBack out. ``run`` runs a step, ``fence`` a fence for as long as it takes,
    ``report`` writes down what became of them."""

    def __init__(
        self,
        world: World,
        nursery: trio.Nursery,
        under_way: UnderWay,
        run: Callable[[Lease, Step], Awaitable[Run]],
        fence: Callable[[Fence, str | None], Awaitable[Refusal | None]],
        report: Callable[[Lease, Run], None],
    ) -> None:
        self._world = world
        self._nursery = nursery
        self._under_way = under_way
        self._run_step = run
        self._run_fence = fence
        self._report = report

    async def give_back(self, effect: GiveBack) -> None:
        lease = effect.lease
        if any(isinstance(step, HotReset) for step in effect.steps):
            sets = ResetSets(self._world.snapshot)
            why = in_the_way(sets, self._world.ledger.owner_of, effect.steps)
            if why is not None:
                self._world.apply(ScrubBlocked(lease.id, why))
                return
        problems: list[tuple[Address, Refusal]] = []
        unbound: Refusal | None = None
        for step in effect.steps:
            if self._is_back(step):
                continue
            if isinstance(step, HotReset) and unbound is not None:
                run = Run(1, (), refusal=replace(unbound, details=_named(unbound, step)))
            else:
                run = await self._run(lease, step)
            refusal = run.refusal
            if refusal is None:
                self._report(lease, run)
                continue
            if isinstance(step, Bind) and refusal.reason is Reason.gone:
                continue
            self._report(lease, run)
            if isinstance(step, HotReset) and refusal.reason.retry:
                if step.required:
                    await self._let_go(effect, step)
                    # No picture of the host shows it, say a program with a group open, so that
                    # no news of its end may come.
                    self._world.apply(ScrubBlocked(lease.id, refusal.message, seen=False))
                    self._nursery.start_soon(self._again_later, lease.id)
                    return
                continue
            if isinstance(step, Bind):
                unbound = refusal
            problems.append((address_of(step), refusal))
        self._world.apply(Returned(lease.id, tuple(problems)))

    async def _let_go(self, effect: GiveBack, blocked: HotReset) -> None:
        """What was bound for the reset is fenced again; nothing is restored."""
        after = effect.steps[effect.steps.index(blocked) + 1 :]
        for step in after:
            if not isinstance(step, HotReset | Restore):
                self._report(effect.lease, await self._run(effect.lease, step))

    async def _run(self, lease: Lease, step: Step) -> Run:
        if not isinstance(step, Fence):
            return await self._run_step(lease, step)
        # Nobody had it open when it was bound for the reset, so that this returns; if somebody has
        # opened it since, there is no other way than to wait.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._complain_later, lease, step)
            with self._under_way.helped(lease.id):
                while (refusal := await self._run_fence(step, None)) is not None:
                    self._report(lease, Run(0, (), refusal=refusal))
                    await trio.sleep(RETRY_SECONDS)
            nursery.cancel_scope.cancel()
        return Run(1, ())

    async def _complain_later(self, lease: Lease, step: Fence) -> None:
        await trio.sleep(PATIENCE_SECONDS)
        what = f"{step.address.short} was opened while it was reset; it is waited for"
        self._report(lease, Run(0, (), refusal=Refusal(Reason.in_use, what, {})))

    async def _again_later(self, lease: str) -> None:
        await trio.sleep(RETRY_SECONDS)
        self._world.apply(ScrubAgain(lease))

    def _is_back(self, step: Step) -> bool:
        """Whether a kernel driver has the device again: killed on the way back, isod goes it anew,
        and what was restored before must not be reset under its driver."""
        match step:
            case Reset(address=address) | Bind(address=address):
                return self._on_its_driver(address)
            case HotReset(members=members):
                return any(self._on_its_driver(address) for address, _ in members)
            case _:
                return False

    def _on_its_driver(self, address: Address) -> bool:
        device = self._world.snapshot.devices.get(address)
        return device is not None and device.driver is not None and not device.on_vfio


def _named(refusal: Refusal, step: HotReset) -> dict[str, object]:
    return {**refusal.details, "step": step.step}
