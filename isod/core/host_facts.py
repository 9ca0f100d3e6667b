"""The ledger's transitions for what happens to the host under its leases.

    leased --DeviceJoined--> joining --Prepared--> leased      a device was added, and is parked
    any    --DeviceGone--> the same with fewer devices; draining when no requested one is left
    leased --HeldOutside, Stranger, Conflict, Settled--> leased, and it is told
    leased --Deadline--> proving --> leased, or draining    a device is being taken: core.leaving

``core.reconcile`` finds out what there is to tell the ledger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from isod.model.effect import (
    Announce,
    Discard,
    Effect,
    Prepare,
    Remember,
)
from isod.model.event import (
    Conflict,
    DeliveryFailed,
    DeviceGone,
    DeviceJoined,
    Ending,
    HeldOutside,
    Prepared,
    PrepareFailed,
    Revoke,
    Settled,
    Stranger,
)
from isod.model.lease import Lease, State
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason

from . import host_change, leaving, revocation
from .holdings import Holdings
from .scrub import in_reach

Effects = tuple[Effect, ...]
_CAME = "came into its isolation group and"


class HostFacts(Holdings, ABC):
    """What the ledger adds to these: the other transitions."""

    @abstractmethod
    def _drain(self, lease: Lease, why: str) -> Effects: ...

    @abstractmethod
    def _transition(self, lease: Lease, event: Any) -> Effects: ...

    # --- devices that go ------------------------------------------------------------------------

    def _device_gone(self, lease: Lease, event: DeviceGone) -> Effects:
        left = host_change.without(
            lease, event.address, event.generation, group_gone=event.group_gone
        )
        if left is lease:
            return ()
        freed = self._disown(lease, left)
        why = "its devices are gone"
        over = bool(lease.requested) and not left.requested
        busy = lease.state in {State.preparing, State.reopening, State.joining, State.proving}
        if over and busy:
            left = replace(left, ending=left.ending or why)
        left, timer = leaving.timed(left, self._now)
        self._put(left)
        told: Effects = (Remember(left), *timer, *freed)
        told += self._quarantine(_unscrubbed(lease, event))
        if left.devices != lease.devices:
            told += (Announce("lease.device_gone", left, event.address.short),)
        return told + self._drain(left, why) if over and lease.state is State.leased else told

    def _held_outside(self, lease: Lease, event: HeldOutside) -> Effects:
        """It is reported, and not fought over: on the way back nothing of it is unbound."""
        lease = host_change.held_outside(lease, event.address, event.by)
        lease, timer = leaving.timed(lease, self._now)
        self._put(lease)
        if event.by is None:
            return (Remember(lease), *timer)
        goes = [one for one in leaving.waited_for(lease) if one.address == event.address]
        note = f"{event.address.short} is on {event.by}"
        note = leaving.asked(lease, goes[0]) if goes else note
        return (Remember(lease), *timer, Announce("lease.held_outside", lease, note))

    def _prove(self, lease: Lease) -> Effects:
        """The time to close what goes is over: was it closed?"""
        steps = leaving.steps_to_prove(lease)
        if not steps:
            return ()
        lease = self._put(replace(lease, state=State.proving))
        return (Remember(lease), *self._operations.begin(Prepare(lease, steps)))

    def _closed(self, lease: Lease, event: Prepared) -> Effects:
        lease = self._put(replace(lease, state=State.leased, leaving=None))
        discarded = (Discard(event.files),) if event.files else ()
        return (*discarded, Remember(lease), *self._end_now(lease))

    def _not_closed(self, lease: Lease, event: PrepareFailed) -> Effects:
        """Nobody is ended but for a device that is known to be open."""
        lease = self._put(replace(lease, state=State.leased))
        if lease.ending is not None:
            return self._end_now(lease)
        is_open = event.refusal.reason is Reason.in_use
        why = leaving.not_closed(lease)
        if is_open and lease.terms.revoke.then == "kill":
            return self._drain(revocation.overdue(lease, why, self._now), why)
        note = why if is_open else event.refusal.message
        return (Remember(lease), Announce("lease.held_outside", lease, note))

    # --- devices that come ----------------------------------------------------------------------

    def _device_joined(self, lease: Lease, event: DeviceJoined) -> Effects:
        """The row names it before a step touches it: whatever becomes of those, it is put back."""
        if event.group is not None and self._groups.get(event.group.number, lease.id) != lease.id:
            return ()  # somebody has it meanwhile
        lease = self._put(host_change.joined(lease, event))
        return (Remember(lease), *self._operations.begin(Prepare(lease, event.steps)))

    def _joined(self, lease: Lease, event: Prepared) -> Effects:
        devices = host_change.merged(lease, event.devices)
        lease = self._put(replace(lease, state=State.leased, devices=devices))
        told = (Remember(lease), Announce("lease.device_joined", lease, _newest(lease)))
        discarded = (Discard(event.files),) if event.files else ()
        return (*discarded, *told, *self._end_now(lease))

    def _not_joined(self, lease: Lease, event: PrepareFailed) -> Effects:
        untouched = host_change.without_untouched(lease, event)
        if untouched is not None:
            freed = self._disown(lease, untouched)
            lease = self._put(replace(untouched, state=State.leased))
            return (Remember(lease), *freed, *self._end_now(lease))
        lease = self._put(replace(lease, state=State.leased))
        note = f"{_newest(lease)} {_CAME} could not be parked: {event.refusal.message}"
        return (Remember(lease), Announce("lease.conflict", lease, note), *self._end_now(lease))

    def _end_now(self, lease: Lease) -> Effects:
        """What was to end it has waited for the operation."""
        return () if lease.ending is None else self._drain(lease, lease.ending)

    def _end_later(self, lease: Lease, event: Ending | DeliveryFailed) -> Effects:
        why = event.why if isinstance(event, Ending) else "its fds could not be delivered"
        self._put(replace(lease, ending=lease.ending or why))
        return ()

    def _stranger(self, lease: Lease, event: Stranger) -> Effects:
        """Nobody has a claim on it, so nobody is revoked: the lease was there before."""
        name = (event.address, event.generation)
        if name in lease.strangers:
            return ()  # it was told
        lease = self._put(replace(lease, strangers=(*lease.strangers, name)))
        note = f"{event.address.short} {_CAME} must not be parked: {event.why}"
        return (Remember(lease), Announce("lease.conflict", lease, note))

    # --- owners that are not isolated -----------------------------------------------------------

    def _conflict(self, event: Conflict) -> Effects:
        """All are told; all are taken back but the oldest of those that do not go anyway.

        The row of one that is taken back says so and names the conflict at once: isod killed after
        half of that would take the conflict for dealt with.
        """
        told: list[Effect] = []
        marked: list[str] = []
        involved = [lease for name, lease in self._leases.items() if name in event.leases]
        for lease in involved:
            if lease.conflict != event.why:
                marked.append(lease.id)
                others = ", ".join(other.id for other in involved if other.id != lease.id)
                note = f"{event.why}; so has lease {others}"
                now = self._put(replace(lease, conflict=event.why))
                told.append(Announce("lease.conflict", now, note))
        # Who is asked to let go already goes, although it is leased still.
        staying = [one.id for one in involved if one.ending is None and one.revocation is None]
        for name in staying[1:]:
            told += self._transition(self._leases[name], Revoke(name, event.why))
        return (*(Remember(self._leases[name]) for name in marked), *told)

    def _settled(self, lease: Lease, event: Settled) -> Effects:
        return (Remember(self._put(replace(lease, conflict=None))),)


def _unscrubbed(lease: Lease, event: DeviceGone) -> list[QuarantineEntry]:
    """A removal and a rescan bring the same device back with all that a client has left in it; so
    where the rule demands a scrub, nobody gets what is at the address before it was looked at."""
    if lease.terms.scrub != "require" or not lease.ever_leased:
        return []
    why = f"removed before it could be scrubbed after lease {lease.id}"
    return [
        QuarantineEntry.of(device, why)
        for device in in_reach(lease.devices, lease.hand_over)
        if (device.address, device.generation) == (event.address, event.generation)
    ]


def _newest(lease: Lease) -> str:
    return lease.devices[-1].address.short if lease.devices else "a device"


TABLE: Mapping[tuple[State, type], Callable[[Any, Lease, Any], Effects]] = {
    **{(state, DeviceGone): HostFacts._device_gone for state in State},
    (State.leased, HeldOutside): HostFacts._held_outside,
    (State.leased, DeviceJoined): HostFacts._device_joined,
    (State.leased, Settled): HostFacts._settled,
    (State.leased, Stranger): HostFacts._stranger,
    (State.joining, Prepared): HostFacts._joined,
    (State.joining, PrepareFailed): HostFacts._not_joined,
    (State.joining, Ending): HostFacts._end_later,
    (State.joining, DeliveryFailed): HostFacts._end_later,
    (State.proving, Prepared): HostFacts._closed,
    (State.proving, PrepareFailed): HostFacts._not_closed,
    (State.proving, Ending): HostFacts._end_later,
    (State.proving, DeliveryFailed): HostFacts._end_later,
}
