"""The ledger: who owns which isolation group, and where each lease stands.

One table: state x event -> transition. A transition returns the effects in the order in which
they are to be carried out; what is not in the table is a mistake of the caller and raises.
An event about a lease that is no more is ignored: it was on its way when the lease ended.

    preparing --Prepared--> leased --Ending--> draining --Idle--> fencing --Fenced--> scrubbing
        |                   |    ^                ^                                      |
        '--PrepareFailed----|----|----------------'                             Returned v
                         Reopen  '-- reopening                                         (free)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from isod.model.address import Address
from isod.model.event import (
    Announce,
    Cleared,
    Deliver,
    DeliveryFailed,
    Discard,
    Drain,
    Effect,
    Ending,
    Event,
    Fenced,
    Forget,
    GiveBack,
    Granted,
    Idle,
    InUse,
    Prepare,
    Prepared,
    PrepareFailed,
    Quarantine,
    Quarantined,
    Recovered,
    Refuse,
    Remember,
    Reopen,
    Returned,
    RunFences,
    Unquarantine,
)
from isod.model.lease import Lease, State
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, Refusal

from .plan import devices_to_return, steps_to_drain, steps_to_fence, steps_to_give_back

Effects = tuple[Effect, ...]


class WrongStateError(Exception):
    """An event that the lease's state does not know: a fault in the shell, never in a client."""


class Ledger:
    """All leases and quarantines. Deterministic: time, ids and I/O are the caller's."""

    def __init__(self, quarantined: Iterable[QuarantineEntry] = ()) -> None:
        self._leases: dict[str, Lease] = {}
        self._groups: dict[int, str] = {}
        self._keys: dict[tuple[int, str], str] = {}
        self._refusals: dict[str, Refusal] = {}
        self._begun: dict[str, int] = {}
        self._quarantined = {entry.address: entry for entry in quarantined}

    # --- questions ------------------------------------------------------------------------------

    @property
    def leases(self) -> Mapping[str, Lease]:
        return self._leases

    @property
    def quarantined(self) -> Mapping[Address, QuarantineEntry]:
        return self._quarantined

    def owner_of(self, group: int) -> Lease | None:
        """The lease that has an IOMMU group, in whatever state."""
        name = self._groups.get(group)
        return None if name is None else self._leases[name]

    def find_key(self, uid: int, key: str) -> Lease | None:
        """The live lease that this uid acquired with this key; one that ends is none."""
        name = self._keys.get((uid, key))
        return None if name is None else self._leases[name]

    # --- the table ------------------------------------------------------------------------------

    def apply(self, event: Event) -> Effects:
        """Take one event. Raises WrongStateError if the state does not know it."""
        if isinstance(event, Granted):
            return self._begin(event.lease)
        if isinstance(event, Recovered):
            return self._recover(event)
        if isinstance(event, Quarantined):
            return self._quarantine([event.entry])
        if isinstance(event, Cleared):
            self._quarantined.pop(event.address, None)
            return (Unquarantine(event.address),)
        lease = self._leases.get(event.lease)
        if lease is None:
            return (Discard(event.files),) if isinstance(event, Prepared) else ()
        transition = TABLE.get((lease.state, type(event)))
        if transition is None:
            raise WrongStateError(f"{type(event).__name__} in state {lease.state}")
        return transition(self, lease, event)

    def _begin(self, lease: Lease) -> Effects:
        if any(group.number in self._groups for group in lease.groups):
            raise WrongStateError("a group has an owner already")
        if any(device.address in self._quarantined for device in lease.devices):
            raise WrongStateError("a device is quarantined")
        lease = self._put(replace(lease, former_limit=self._limit_before(lease)))
        return (Remember(lease), Prepare(lease, lease.plan))

    def _recover(self, event: Recovered) -> Effects:
        """A row from the store. Whatever was not *leased* with its hold still in our hands goes
        the way back; that way is idempotent, so it does not matter how far it had come."""
        lease = event.lease
        self._put(lease)
        if lease.state in {State.leased, State.reopening} and event.held:
            return ()
        self._begun[lease.id] = len(lease.plan)
        return self._drain(lease, lease.ending or "isod was restarted")

    def _put(self, lease: Lease) -> Lease:
        self._leases[lease.id] = lease
        for group in lease.groups:
            self._groups[group.number] = lease.id
        if lease.key is not None and lease.ending is None:
            self._keys[lease.owner.uid, lease.key] = lease.id
        return lease

    def _prepared(self, lease: Lease, event: Prepared) -> Effects:
        """Everything is open. The row says *leased* before the fds leave."""
        self._begun[lease.id] = len(lease.plan)
        lease = replace(
            lease,
            state=State.leased,
            ever_leased=True,
            devices=event.devices or lease.devices,
            warnings=(*lease.warnings, *event.warnings),
        )
        if lease.ending is not None:
            return self._too_late(lease, event, lease.ending)
        self._put(lease)
        return (
            Remember(lease),
            Deliver(lease, event.files),
            Announce("lease.granted", lease),
        )

    def _too_late(self, lease: Lease, event: Prepared, why: str) -> Effects:
        """The lease was ended while its operation was under way: whoever waits is told."""
        refusal = Refusal(Reason.gone, f"lease {lease.id} ended meanwhile: {why}", {})
        return (Discard(event.files), Refuse(lease, refusal), *self._drain(lease, why))

    def _prepare_failed(self, lease: Lease, event: PrepareFailed) -> Effects:
        self._begun[lease.id] = event.begun
        self._refusals[lease.id] = event.refusal
        return self._drain(lease, f"not granted: {event.refusal.message}")

    def _reopen(self, lease: Lease, event: Reopen) -> Effects:
        lease = self._put(replace(lease, state=State.reopening))
        return (Remember(lease), Prepare(lease, event.plan))

    def _reopened(self, lease: Lease, event: Prepared) -> Effects:
        lease = replace(lease, state=State.leased, devices=event.devices or lease.devices)
        if lease.ending is not None:
            return self._too_late(lease, event, lease.ending)
        self._put(lease)
        return (Remember(lease), Deliver(lease, event.files))

    def _reopen_failed(self, lease: Lease, event: PrepareFailed) -> Effects:
        lease = replace(lease, state=State.leased)
        if lease.ending is not None:
            return (Refuse(lease, event.refusal), *self._drain(lease, lease.ending))
        self._put(lease)
        return (Remember(lease), Refuse(lease, event.refusal))

    def _ending_later(self, lease: Lease, event: Ending) -> Effects:
        """An operation is under way: it finishes first."""
        self._put(replace(lease, ending=lease.ending or event.why))
        return ()

    def _ending(self, lease: Lease, event: Ending) -> Effects:
        return self._drain(lease, event.why)

    def _delivery_failed(self, lease: Lease, event: DeliveryFailed) -> Effects:
        return self._drain(lease, "its fds could not be delivered")

    def _drain(self, lease: Lease, why: str) -> Effects:
        if lease.key is not None:
            self._keys.pop((lease.owner.uid, lease.key), None)
        lease = replace(lease, state=State.draining, ending=why)
        self._put(lease)
        begun = self._begun.get(lease.id, len(lease.plan))
        steps = steps_to_drain(lease, begun, self._limit_after(lease))
        return (
            Remember(lease),
            Announce("lease.draining", lease, why),
            Drain(lease, steps, devices_to_return(lease, begun)),
        )

    def _leases_of_process(self, lease: Lease) -> list[Lease]:
        process = (lease.owner.pid, lease.owner.started)
        return [
            other
            for other in self._leases.values()
            if other.id != lease.id
            and other.former_limit is not None
            and (other.owner.pid, other.owner.started) == process
        ]

    def _limit_before(self, lease: Lease) -> tuple[int, int] | None:
        """What the process had before any lease raised it: a second lease found it raised."""
        limit = lease.former_limit
        if limit is not None:
            for other in self._leases_of_process(lease):
                limit = _lower(limit, other.former_limit or limit)
        return limit

    def _limit_after(self, lease: Lease) -> tuple[int, int] | None:
        """The limit of the owner's process once this lease is gone: what it had before, or more
        if its other leases need that."""
        limit = lease.former_limit
        if limit is not None:
            for other in self._leases_of_process(lease):
                if other.ending is None:
                    needed = other.terms.memlock or 0
                    limit = _higher(limit, (needed, needed))
        return limit

    def _in_use(self, lease: Lease, event: InUse) -> Effects:
        if event.open == lease.open:
            return ()
        lease = self._put(replace(lease, open=event.open))
        refusal = self._refusals.pop(lease.id, None)
        answer = () if refusal is None else (Refuse(lease, refusal),)
        return (*answer, Announce("lease.in_use", lease))

    def _idle(self, lease: Lease, event: Idle) -> Effects:
        lease = self._put(replace(lease, state=State.fencing, open=()))
        devices = devices_to_return(lease, self._begun.get(lease.id, len(lease.plan)))
        return (Remember(lease), RunFences(lease, steps_to_fence(devices)))

    def _fenced(self, lease: Lease, event: Fenced) -> Effects:
        lease = self._put(replace(lease, state=State.scrubbing, open=()))
        devices = devices_to_return(lease, self._begun.get(lease.id, len(lease.plan)))
        return (Remember(lease), GiveBack(lease, steps_to_give_back(lease, devices)))

    def _returned(self, lease: Lease, event: Returned) -> Effects:
        effects: list[Effect] = []
        effects.extend(self._quarantine(_unclean(lease, event)))
        effects.extend(
            Announce("device.stranded", lease, f"{address}: {refusal.message}")
            for address, refusal in event.problems
        )
        refusal = self._refusals.pop(lease.id, None)
        self._begun.pop(lease.id, None)
        del self._leases[lease.id]
        for group in lease.groups:
            del self._groups[group.number]
        effects.append(Forget(lease))
        if refusal is not None:
            effects.append(Refuse(lease, _with_undone(refusal, lease, event)))
        effects.append(Announce("lease.ended", lease, lease.ending))
        return tuple(effects)

    def _quarantine(self, entries: Sequence[QuarantineEntry]) -> Effects:
        self._quarantined.update((entry.address, entry) for entry in entries)
        return (Quarantine(tuple(entries)),) if entries else ()

    def _ignore(self, lease: Lease, event: Event) -> Effects:
        return ()


def _unclean(lease: Lease, event: Returned) -> list[QuarantineEntry]:
    """The devices that a client had and that could not be scrubbed."""
    devices = {device.address: device for device in lease.devices}
    return [
        QuarantineEntry(
            address,
            f"not scrubbed after lease {lease.id}: {refusal.message}",
            devices[address].vendor,
            devices[address].product,
        )
        for address, refusal in event.problems
        if refusal.details.get("step") == "reset" and address in devices
    ]


def _with_undone(refusal: Refusal, lease: Lease, event: Returned) -> Refusal:
    """The reply to a request that failed half-way says what was put back and what was not."""
    problems = {str(address): problem.message for address, problem in event.problems}
    touched = [str(device.address) for device in lease.devices if device.touched]
    undone = [address for address in touched if address not in problems]
    details = {**refusal.details, "undone": undone}
    if problems:
        details["not_undone"] = problems
    return replace(refusal, details=details)


def _higher(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0], key=_bytes), max(one[1], other[1], key=_bytes)


def _lower(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return min(one[0], other[0], key=_bytes), min(one[1], other[1], key=_bytes)


def _bytes(limit: int) -> float:
    return float("inf") if limit < 0 else limit  # RLIM_INFINITY is -1 in Python


TABLE: Mapping[tuple[State, type], Callable[[Ledger, Lease, Any], Effects]] = {
    (State.preparing, Prepared): Ledger._prepared,
    (State.preparing, PrepareFailed): Ledger._prepare_failed,
    (State.preparing, Ending): Ledger._ending_later,
    (State.leased, DeliveryFailed): Ledger._delivery_failed,
    (State.leased, Ending): Ledger._ending,
    (State.leased, Reopen): Ledger._reopen,
    (State.reopening, Prepared): Ledger._reopened,
    (State.reopening, PrepareFailed): Ledger._reopen_failed,
    (State.reopening, Ending): Ledger._ending_later,
    (State.reopening, DeliveryFailed): Ledger._ignore,
    (State.draining, InUse): Ledger._in_use,
    (State.draining, Idle): Ledger._idle,
    (State.draining, Ending): Ledger._ignore,
    (State.draining, DeliveryFailed): Ledger._ignore,
    (State.fencing, InUse): Ledger._in_use,
    (State.fencing, Fenced): Ledger._fenced,
    (State.fencing, Ending): Ledger._ignore,
    (State.fencing, DeliveryFailed): Ledger._ignore,
    (State.scrubbing, Returned): Ledger._returned,
    (State.scrubbing, Ending): Ledger._ignore,
    (State.scrubbing, DeliveryFailed): Ledger._ignore,
}
