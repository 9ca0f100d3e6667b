"""Carries out what the ledger wants: runs steps off the loop and reports back with events.

Steps that cannot wait for a client run in threads; fences run in helper processes, and their pipes
are awaited here. No task here owns a decision: it runs steps, in order, and says what came of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TypeVar

import trio

from isod.core.distrust import open_to_its_owner
from isod.core.domain import children_in_use
from isod.core.guard import check_unbind
from isod.kernel.port import Kernel
from isod.kernel.tree import UnreadableError
from isod.model.address import Address
from isod.model.effect import (
    Deliver,
    Discard,
    Drain,
    Effect,
    EndPeer,
    Forget,
    GiveBack,
    Prepare,
    Refuse,
    RunFences,
    StartTimer,
    StopTimer,
)
from isod.model.event import (
    Fenced,
    Idle,
    InUse,
    PeerEnded,
    Prepared,
    PrepareFailed,
    Quarantined,
)
from isod.model.lease import Lease, LeaseDevice, State
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.step import (
    Fence,
    GroupName,
    Limit,
    OpenFile,
    RevokeNodes,
    Step,
    Unbind,
    Use,
)

from .deliveries import Deliveries
from .needs import Needs
from .outcome import close_files
from .peers import Peers
from .stretch import Run, address_of, run_stretch, stretch_from, waits_for_helper
from .timers import Timers
from .under_way import UnderWay
from .watcher import Watcher
from .way_back import WayBack
from .world import World

POLL_SECONDS = 1.0
STUCK_SECONDS = 2.0
RETRY_SECONDS = 5.0
THREADS = 16


_Effect = TypeVar("_Effect", bound=Effect)


class Executor:
    """One per daemon."""

    def __init__(
        self,
        kernel: Kernel,
        world: World,
        watcher: Watcher,
        deliveries: Deliveries,
        peers: Peers,
        needs: Needs,
        nursery: trio.Nursery,
    ) -> None:
        self._kernel = kernel
        self._world = world
        self._watcher = watcher
        self.deliveries = deliveries
        self._peers = peers
        self._needs = needs
        self._nursery = nursery
        self._limiter = trio.CapacityLimiter(THREADS)
        self.under_way = UnderWay()
        self._way_back = WayBack(
            world, nursery, self.under_way, self._run_for, self._run_fence, self._report
        )
        self._timers = Timers(world.apply, nursery)

    def carry_out(self, effect: Effect) -> None:
        """Begin with an effect; returns at once."""
        match effect:
            case Prepare():
                self.begin(self._prepare, effect)
            case Deliver():
                self.deliveries.deliver(effect)
            case Discard():
                close_files(effect.files)
            case Refuse():
                self.deliveries.refuse(effect)
            case Drain():
                self._lower_limits(effect)
                self._nursery.start_soon(self.deliveries.let_go, effect.lease.id)
                self._nursery.start_soon(self._drain, effect)
            case StartTimer(lease=lease, seconds=seconds):
                self._timers.start(lease.id, seconds)
            case StopTimer(lease=lease):
                self._timers.stop(lease.id)
            case EndPeer():
                self._nursery.start_soon(self._end_peer, effect)
            case Forget(lease=lease):
                self._peers.forget(lease.id)
            case RunFences():
                self._nursery.start_soon(self._fence, effect)
            case GiveBack():
                self.begin(self._way_back.give_back, effect)
            case _:
                raise TypeError(f"no way to carry out {type(effect).__name__}")

    def begin(self, operation: Callable[[_Effect], Awaitable[None]], effect: _Effect) -> None:
        """Begin with an operation's steps; ``under_way`` counts it until it has ended."""
        self.under_way.begin()
        self._nursery.start_soon(self._operate, operation, effect)

    async def _operate(
        self, operation: Callable[[_Effect], Awaitable[None]], effect: _Effect
    ) -> None:
        try:
            await operation(effect)
        finally:
            self.under_way.end()

    # --- granting -------------------------------------------------------------------------------

    async def _prepare(self, effect: Prepare) -> None:
        lease = effect.lease
        if to_fence := _disturbed(effect):
            # A fence disturbs whoever uses the device, so the probes go first here, too.
            numbers = {device.group for device in to_fence}
            groups = [group for group in lease.groups if group.number in numbers]
            busy = self._busy(to_fence, await self._use(to_fence, groups))
            busy += self._children(to_fence)
            if busy:
                what = f"{busy[0].short} is still open from what was handed over before"
                details = {"devices": [str(address) for address in busy]}
                self._world.apply(PrepareFailed(lease.id, 0, Refusal(Reason.in_use, what, details)))
                return
        steps = effect.steps
        if lease.state is State.proving:
            try:
                steps = await self._still_leaving(steps)
            except (UnreadableError, OSError) as error:
                refusal = Refusal(Reason.kernel, str(error), {"errno": error.errno})
                self._world.apply(PrepareFailed(lease.id, 0, refusal))
                return
        run = await self._run(steps, lease.terms.critical_ok, lease.id)
        if run.refusal is not None:
            self._world.apply(PrepareFailed(lease.id, run.begun, run.refusal))
            return
        devices = self._named(lease)
        self._world.apply(Prepared(lease.id, run.files, devices, run.warnings))

    async def _still_leaving(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The fences of devices that are on no driver still: one that is on vfio-pci again was
        closed before, and may be in use anew. Raises as ``Kernel.look`` does."""

        def look() -> tuple[Step, ...]:
            found = ((step, self._kernel.look(address_of(step))) for step in steps)
            return tuple(step for step, now in found if now is not None and now.driver is None)

        return await trio.to_thread.run_sync(look, limiter=self._limiter)

    def _named(self, lease: Lease) -> tuple[LeaseDevice, ...]:
        """The lease's devices with the cdev names that binding gave them."""
        known = self._world.snapshot.devices
        return tuple(
            replace(device, cdev=known[device.address].cdev if device.address in known else None)
            for device in lease.devices
        )

    # --- the way back ---------------------------------------------------------------------------

    def _lower_limits(self, effect: Drain) -> None:
        """In place, not in a thread: prlimit does not block, and the limit must be down before
        another lease of the same process can raise it again."""
        for step in effect.steps:
            if isinstance(step, Limit):
                try:
                    self._kernel.run(step)
                except RefusedError as error:
                    self._report(effect.lease, Run(1, (), refusal=error.refusal))

    async def _drain(self, effect: Drain) -> None:
        lease = effect.lease
        for step in (step for step in effect.steps if not isinstance(step, Limit)):
            run = await self._run((step,))
            self._report(lease, run)
            if isinstance(step, RevokeNodes) and run.refusal is not None:
                for entry in open_to_its_owner(lease, step, run.refusal):
                    self._world.apply(Quarantined(entry))
        if effect.devices:
            groups = tuple(
                group
                for group in lease.groups
                if any(device.group == group.number for device in effect.devices)
            )
            with self._watcher.closes(g.number for g in groups) as closes:
                while True:
                    use = await self._use(effect.devices, groups)
                    busy = self._busy(effect.devices, use) + self._children(effect.devices)
                    if use.idle and not busy:
                        break
                    self._world.apply(InUse(lease.id, busy))
                    with trio.move_on_after(POLL_SECONDS):
                        await closes.wait()
        self._world.apply(Idle(lease.id))

    async def _end_peer(self, effect: EndPeer) -> None:
        """That somebody was ended is told even if the lease was over before we could tell."""
        lease = effect.lease
        event = await self._peers.end(lease)
        if lease.id in self._world.ledger.leases:
            self._world.apply(event)
        elif isinstance(event, PeerEnded):
            self._world.publisher.lease("lease.ended_peer", lease, event.how)

    async def _use(self, devices: Sequence[LeaseDevice], groups: Sequence[GroupName]) -> Use:
        return await trio.to_thread.run_sync(
            self._kernel.use, devices, groups, limiter=self._limiter
        )

    @staticmethod
    def _busy(devices: Sequence[LeaseDevice], use: Use) -> tuple[Address, ...]:
        """The devices known to be open; where only a group is known to be, all of its devices."""
        of_groups = {d.address for d in devices if d.group in use.busy_groups and not use.open}
        return tuple(sorted(set(use.open) | of_groups))

    def _children(self, devices: Sequence[LeaseDevice]) -> tuple[Address, ...]:
        """Whom a fence would take away: virtual functions made meanwhile that a driver has."""
        return children_in_use(self._world.snapshot, {device.address for device in devices})

    async def _fence(self, effect: RunFences) -> None:
        """One device after the other: all have to return anyway, so one helper does for all."""
        for step in effect.steps:
            assert isinstance(step, Fence)
            while (refusal := await self._run_fence(step, effect.lease.id)) is not None:
                # Without the proof the group is not free. Keep trying, and say so.
                self._report(effect.lease, Run(0, (), refusal=refusal))
                self._world.apply(InUse(effect.lease.id, (step.address,)))
                await trio.sleep(RETRY_SECONDS)
        self._world.apply(Fenced(effect.lease.id))

    async def _run_fence(self, step: Fence, lease: str | None) -> Refusal | None:
        """Run one fence however long it takes; with ``lease`` a stuck one is reported."""
        try:
            pending = await trio.to_thread.run_sync(self._kernel.start, step, limiter=self._limiter)
        except RefusedError as error:
            return error.refusal
        try:
            with trio.move_on_after(STUCK_SECONDS) as patience:
                await trio.lowlevel.wait_readable(pending.fileno())
            if patience.cancelled_caught:
                if lease is not None:
                    self._world.apply(InUse(lease, (step.address,)))
                await trio.lowlevel.wait_readable(pending.fileno())
        except BaseException:
            # Cancelled, or a fault in telling of it: whatever ends the waiting, the helper's pipes
            # are ours to close.
            pending.abandon()
            raise
        try:
            pending.finish()
        except RefusedError as error:
            return error.refusal
        return None

    def _report(self, lease: Lease, run: Run) -> None:
        for text in (run.refusal.message,) if run.refusal else run.warnings:
            self._world.journal.record("step.failed", text, lease=lease.id)

    # --- running steps --------------------------------------------------------------------------

    async def run(self, steps: Sequence[Step]) -> Refusal | None:
        """Run steps that open nothing, for whoever has no lease; what has failed."""
        return (await self._run(steps)).refusal

    async def _run_for(self, lease: Lease, step: Step) -> Run:
        return await self._run((step,), lease=lease.id)

    async def _run(
        self, steps: Sequence[Step], critical_ok: Sequence[str] = (), lease: str | None = None
    ) -> Run:
        """Run steps until one fails; then what they opened is closed. Looks at the devices they
        touched afterwards, so that the host's picture is current when the event arrives."""
        begun = 0
        files: list[OpenFile] = []
        warnings: list[str] = []
        try:
            while begun < len(steps):
                if isinstance(fence := steps[begun], Fence):
                    begun += 1
                    if (refusal := await self._bounded_fence(fence)) is not None:
                        close_files(files)
                        return Run(begun, (), refusal=refusal)
                    continue
                if isinstance(unbind := steps[begun], Unbind):
                    refusal = await self._needed_by_now(unbind, critical_ok)
                    if refusal is not None:
                        close_files(files)
                        return Run(begun, (), tuple(warnings), refusal)
                stretch = stretch_from(steps, begun)
                # One hop into a thread for all of them: a hop costs as much as a cheap step.
                work = partial(run_stretch, self._kernel, stretch, self._world.begin_look)
                # A stop leaves the thread to itself, and soon the process ends. The row says what
                # was begun, so to the next start it is as if isod had been killed here.
                abandoned = waits_for_helper(stretch)
                with self.under_way.helped(lease) if abandoned else nullcontext():
                    came = await trio.to_thread.run_sync(
                        work, limiter=self._limiter, abandon_on_cancel=abandoned
                    )
                begun += came.begun
                for result in came.results:
                    files.extend(result.files)
                    warnings.extend(result.warnings)
                self._world.note(came.seen, {}, came.look)
                if came.unread:
                    self._world.note_unread(came.unread, came.look)
                if came.failure is not None:
                    close_files(files)
                    return Run(begun, (), tuple(warnings), came.failure)
        except BaseException:
            close_files(files)
            raise
        return Run(begun, tuple(files), tuple(warnings))

    async def _needed_by_now(self, step: Unbind, critical_ok: Sequence[str]) -> Refusal | None:
        """What the host needs of a device, or of what goes with it, right before it is taken: since
        the decision a disk may have been mounted, or a route set."""
        await self._needs.look()
        try:
            check_unbind(self._world.snapshot, self._needs.facts, step.address, critical_ok)
        except RefusedError as error:
            refusal = error.refusal
            return replace(refusal, details={"step": step.step, **refusal.details})
        return None

    async def _bounded_fence(self, step: Fence) -> Refusal | None:
        """A fence on the way to fresh fds: what is still open is an answer, not waited for."""
        with trio.move_on_after(STUCK_SECONDS):
            return await self._run_fence(step, None)
        what = f"{step.address.short} is still open from what was handed over before"
        return Refusal(Reason.in_use, what, {"devices": [str(step.address)]})


def _disturbed(effect: Prepare) -> tuple[LeaseDevice, ...]:
    """The devices that the steps fence, but for those that are being unbound anyway."""
    fenced = {step.address for step in effect.steps if isinstance(step, Fence)}
    return tuple(d for d in effect.lease.devices if d.address in fenced and not d.held_outside)
