"""The ledger: who owns which isolation group, and where each lease stands.

One table: state x event -> transition. A transition returns the effects in the order in which
they are to be carried out; what is not in the table is a mistake of the caller and raises.
What happens to the host under a lease is in ``core.host_facts``, with its rows of the table.
An event about a lease that is no more is ignored: it was on its way when the lease ended.
Operations (Prepare, GiveBack) come out one at a time per reset domain, in order.

    preparing --Prepared--> leased --Ending--> draining --Idle--> fencing --Fenced--> scrubbing
        |                   |    ^                ^                                      |
        '--PrepareFailed----|----|----------------'      ScrubBlocked, ScrubAgain, Returned v
                         Reopen  '-- reopening                                         (free)

Revoke asks the owner of a leased one and starts its timer; Deadline drains it: ``core.revocation``.
A device that is taken away starts the timer, too, and then *proving*: ``core.leaving``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from isod.model.effect import (
    Announce,
    Deliver,
    Discard,
    Drain,
    Effect,
    Forget,
    GiveBack,
    Prepare,
    Refuse,
    Remember,
    RunFences,
    StartTimer,
    StopTimer,
)
from isod.model.event import (
    Cleared,
    Conflict,
    Deadline,
    DeliveryFailed,
    Ending,
    Event,
    Fenced,
    Granted,
    Idle,
    InUse,
    PeerEnded,
    PeerNotEnded,
    Prepared,
    PrepareFailed,
    Quarantined,
    Recovered,
    Reopen,
    Returned,
    Revoke,
    ScrubAgain,
    ScrubBlocked,
)
from isod.model.lease import Lease, State
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, Refusal

from . import host_change, kept, leaving, memlock, revocation, scrub
from .distrust import after_return
from .host_change import merged
from .host_facts import TABLE as HOST_FACTS
from .host_facts import HostFacts
from .plan import devices_to_return, steps_to_drain, steps_to_fence, steps_to_give_back
from .undone import with_undone

Effects = tuple[Effect, ...]


class WrongStateError(Exception):
    """An event that the lease's state does not know: a fault in the shell, never in a client."""


class Ledger(HostFacts):
    """All leases and quarantines. Deterministic: time, ids and I/O are the caller's."""

    def __init__(
        self, quarantined: Iterable[QuarantineEntry] = (), unknown: str | None = None
    ) -> None:
        super().__init__(quarantined, unknown)
        self._refusals: dict[str, Refusal] = {}
        self._begun: dict[str, int] = {}
        self.shelf = kept.Shelf(self._operations, self._groups.__contains__)

    # --- the table ------------------------------------------------------------------------------

    def apply(self, event: Event, now: float = 0.0) -> Effects:
        """Take one event, at ``now`` in seconds since the epoch. Raises WrongStateError if the
        state does not know it."""
        self._now = now
        match event:
            case Granted():
                return self._begin(event.lease)
            case Recovered():
                return self._recover(event)
            case Quarantined():
                return self._quarantine([event.entry])
            case Cleared():
                return self._clear(event.address)
            case Conflict():
                return self._conflict(event)
            case _:
                return self._of_lease(event)

    def _of_lease(self, event: Any) -> Effects:
        lease = self._leases.get(event.lease)
        if lease is None:
            return (Discard(event.files),) if isinstance(event, Prepared) else ()
        effects = self._transition(lease, event)
        if isinstance(event, Prepared | PrepareFailed | Returned | ScrubBlocked):
            effects += self._operations.end(lease.id)
        return effects

    def _transition(self, lease: Lease, event: Any) -> Effects:
        transition = TABLE.get((lease.state, type(event)))
        if transition is None:
            raise WrongStateError(f"{type(event).__name__} in state {lease.state}")
        return transition(self, lease, event)

    def _begin(self, lease: Lease) -> Effects:
        if any(group.number in self._groups for group in lease.groups):
            raise WrongStateError("a group has an owner already")
        if any(self.distrusts(device.address) is not None for device in lease.devices):
            raise WrongStateError("a device is quarantined")
        lease = self._put(replace(lease, former_limit=memlock.before(lease, self._leases.values())))
        return (Remember(lease), *self._operations.begin(Prepare(lease, lease.plan)))

    def _recover(self, event: Recovered) -> Effects:
        """A row from the store. Whatever was not *leased* with an anchor that still stands goes
        the way back; that way is idempotent, so it does not matter how far it had come. Fresh fds
        that nobody got may be asked for again."""
        lease, timer = revocation.resumed(event.lease, self._now)
        lease, time_left = leaving.resumed(lease, self._now)
        timer += time_left
        self._put(lease)
        if lease.state.public == "leased" and event.held:
            lease = self._put(replace(lease, state=State.leased))
            return (Remember(lease), *timer, *self._ask_again(lease))
        self._begun[lease.id] = len(lease.plan)
        return (*timer, *self._drain(lease, lease.ending or "isod was restarted"))

    @staticmethod
    def _ask_again(lease: Lease) -> Effects:
        """The row says that the owner is asked before the owner is: isod may have been killed in
        between. Who is told twice loses nothing."""
        asked = lease.revocation
        if asked is None or asked.overdue or asked.why is None:
            return ()
        return (Announce("lease.revoking", lease, asked.why),)

    def _prepared(self, lease: Lease, event: Prepared) -> Effects:
        """Everything is open. The row says *leased* before the fds leave."""
        self._begun[lease.id] = len(lease.plan)
        lease = replace(
            lease,
            state=State.leased,
            ever_leased=True,
            devices=merged(lease, event.devices),
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
        unclean = self._quarantine(scrub.unclean_before(lease, event.begun, event.refusal))
        return (*unclean, *self._drain(lease, f"not granted: {event.refusal.message}"))

    def _reopen(self, lease: Lease, event: Reopen) -> Effects:
        lease = self._put(replace(lease, state=State.reopening))
        return (Remember(lease), *self._operations.begin(Prepare(lease, event.plan)))

    def _reopened(self, lease: Lease, event: Prepared) -> Effects:
        devices = tuple(replace(one, fenced=False) for one in merged(lease, event.devices))
        lease = replace(lease, state=State.leased, devices=devices)
        if lease.ending is not None:
            return self._too_late(lease, event, lease.ending)
        self._put(lease)
        return (
            Remember(lease),
            Deliver(lease, event.files, again=True),
            Announce("lease.reopened", lease),
        )

    def _reopen_failed(self, lease: Lease, event: PrepareFailed) -> Effects:
        lease = replace(lease, state=State.leased, devices=host_change.fenced(lease, event.begun))
        if lease.ending is not None:
            return (Refuse(lease, event.refusal), *self._drain(lease, lease.ending))
        self._put(lease)
        return (Remember(lease), Refuse(lease, event.refusal))

    def _ending_later(self, lease: Lease, event: Ending | Revoke) -> Effects:
        """An operation is under way: it finishes first."""
        self._put(replace(lease, ending=lease.ending or event.why))
        return ()

    def _ending(self, lease: Lease, event: Ending) -> Effects:
        return self._drain(lease, event.why)

    def _delivery_failed(self, lease: Lease, event: DeliveryFailed) -> Effects:
        return self._drain(lease, "its fds could not be delivered")

    def _revoke(self, lease: Lease, event: Revoke) -> Effects:
        if event.at_once:
            return self._drain(revocation.overdue(lease, event.why, self._now), event.why)
        return self._ask(lease, event)

    def _revoke_reopening(self, lease: Lease, event: Revoke) -> Effects:
        if event.at_once:
            lease = revocation.overdue(lease, event.why, self._now)
            self._put(replace(lease, ending=lease.ending or event.why))
            return ()
        return self._ask(lease, event)

    def _ask(self, lease: Lease, event: Revoke) -> Effects:
        lease, stopped = leaving.forgotten(lease)
        lease, timer = revocation.ask(lease, event.why, self._now)
        if not timer:
            return ()
        self._put(lease)
        return (Remember(lease), *stopped, *timer, Announce("lease.revoking", lease, event.why))

    def _revoke_draining(self, lease: Lease, event: Revoke) -> Effects:
        """It ends already, so nobody is asked any more; but the time may be cut short, and what
        was in vain may be tried again."""
        if event.at_once:
            lease = revocation.overdue(lease, event.why, self._now)
        return self._go_on(revocation.again(lease))

    def _deadline(self, lease: Lease, event: Deadline) -> Effects:
        if lease.revocation is None:
            return self._prove(lease)
        lease = revocation.overdue(lease, None, self._now)
        return self._drain(lease, revocation.why(lease))

    def _deadline_reopening(self, lease: Lease, event: Deadline) -> Effects:
        if lease.revocation is None:
            return (StartTimer(lease, leaving.AGAIN_SECONDS),)
        lease = revocation.overdue(lease, None, self._now)
        self._put(replace(lease, ending=lease.ending or revocation.why(lease)))
        return ()

    def _deadline_draining(self, lease: Lease, event: Deadline) -> Effects:
        return self._go_on(revocation.overdue(lease, None, self._now))

    def _go_on(self, lease: Lease) -> Effects:
        """Probes come again and again, so the next one says whether the peer is to be ended; a
        fence that waits is a proof that something is open, and says so once."""
        ended: Effects = ()
        if lease.state is State.fencing:
            lease, ended = revocation.end_peer(lease)
        self._put(lease)
        return (Remember(lease), *ended)

    def _peer_ended(self, lease: Lease, event: PeerEnded) -> Effects:
        lease = self._put(revocation.told(lease, "ended"))
        return (Remember(lease), Announce("lease.ended_peer", lease, event.how))

    def _peer_not_ended(self, lease: Lease, event: PeerNotEnded) -> Effects:
        lease = self._put(revocation.told(lease, "failed"))
        note = event.refusal.message
        return (Remember(lease), Announce("lease.peer_not_ended", lease, note))

    def _drain(self, lease: Lease, why: str) -> Effects:
        if lease.key is not None:
            self._keys.pop((lease.owner.uid, lease.key), None)
        lease = replace(lease, state=State.draining, ending=why, open=())
        lease, stopped = leaving.forgotten(lease)
        lease, timer = revocation.draining(lease, self._now)
        self._put(lease)
        begun = self._begun.get(lease.id, len(lease.plan))
        steps = steps_to_drain(lease, begun, memlock.after(lease, self._leases.values()))
        return (
            Remember(lease),
            *stopped,
            *timer,
            Announce("lease.draining", lease, why),
            Drain(lease, steps, devices_to_return(lease, begun)),
        )

    def _in_use(self, lease: Lease, event: InUse) -> Effects:
        known = event.open == lease.open
        lease, ended = revocation.end_peer(replace(lease, open=event.open))
        self._put(lease)
        if known:
            return ended
        refusal = self._refusals.pop(lease.id, None)
        answer = () if refusal is None else (Refuse(lease, refusal),)
        return (*answer, Announce("lease.in_use", lease), *ended)

    def _idle(self, lease: Lease, event: Idle) -> Effects:
        lease = self._put(replace(lease, state=State.fencing, open=()))
        devices = devices_to_return(lease, self._begun.get(lease.id, len(lease.plan)))
        return (Remember(lease), RunFences(lease, steps_to_fence(devices)))

    def _fenced(self, lease: Lease, event: Fenced) -> Effects:
        lease = self._put(replace(lease, state=State.scrubbing, open=()))
        return (Remember(lease), *self._give_back(lease))

    def _give_back(self, lease: Lease) -> Effects:
        devices = devices_to_return(lease, self._begun.get(lease.id, len(lease.plan)))
        return self._operations.begin(GiveBack(lease, steps_to_give_back(lease, devices)))

    def _scrub_blocked(self, lease: Lease, event: ScrubBlocked) -> Effects:
        known = lease.waiting == event.why
        lease = self._put(replace(lease, waiting=event.why))
        self._blocked[lease.id] = event.seen
        return () if known else (Remember(lease), Announce("lease.waiting", lease, event.why))

    def _scrub_again(self, lease: Lease, event: ScrubAgain) -> Effects:
        if self._blocked.pop(lease.id, None) is None:
            return ()
        return self._give_back(lease)

    def _returned(self, lease: Lease, event: Returned) -> Effects:
        effects: list[Effect] = [*self._quarantine(after_return(lease, event.problems))]
        for address, problem in event.problems:
            effects.append(Announce("device.stranded", lease, f"{address}: {problem.message}"))
        refusal = self._refusals.pop(lease.id, None)
        returned = devices_to_return(lease, self._begun.pop(lease.id, len(lease.plan)))
        del self._leases[lease.id]
        for group in lease.groups:
            del self._groups[group.number]
        if lease.revocation is not None:
            effects.append(StopTimer(lease))
        # Told first: killed in between, isod goes the way back again and tells it once more.
        effects += [Announce("lease.ended", lease, lease.ending), Forget(lease)]
        if refusal is not None:
            effects.append(Refuse(lease, with_undone(refusal, returned, event)))
        return tuple(effects)

    def _ignore(self, lease: Lease, event: Event) -> Effects:
        return ()


TABLE: Mapping[tuple[State, type], Callable[[Ledger, Lease, Any], Effects]] = {
    (State.preparing, Prepared): Ledger._prepared,
    (State.preparing, PrepareFailed): Ledger._prepare_failed,
    (State.preparing, Ending): Ledger._ending_later,
    (State.preparing, Revoke): Ledger._ending_later,
    (State.leased, DeliveryFailed): Ledger._delivery_failed,
    (State.leased, Ending): Ledger._ending,
    (State.leased, Revoke): Ledger._revoke,
    (State.leased, Deadline): Ledger._deadline,
    (State.leased, Reopen): Ledger._reopen,
    (State.reopening, Prepared): Ledger._reopened,
    (State.reopening, PrepareFailed): Ledger._reopen_failed,
    (State.reopening, Ending): Ledger._ending_later,
    (State.reopening, Revoke): Ledger._revoke_reopening,
    (State.reopening, Deadline): Ledger._deadline_reopening,
    (State.reopening, DeliveryFailed): Ledger._ignore,
    (State.joining, Revoke): Ledger._revoke_reopening,
    (State.joining, Deadline): Ledger._deadline_reopening,
    (State.proving, Revoke): Ledger._revoke_reopening,
    (State.proving, Deadline): Ledger._deadline_reopening,
    (State.draining, InUse): Ledger._in_use,
    (State.draining, Idle): Ledger._idle,
    (State.draining, Ending): Ledger._ignore,
    (State.draining, Revoke): Ledger._revoke_draining,
    (State.draining, Deadline): Ledger._deadline_draining,
    (State.draining, PeerEnded): Ledger._peer_ended,
    (State.draining, PeerNotEnded): Ledger._peer_not_ended,
    (State.draining, DeliveryFailed): Ledger._ignore,
    (State.fencing, InUse): Ledger._in_use,
    (State.fencing, Fenced): Ledger._fenced,
    (State.fencing, Ending): Ledger._ignore,
    (State.fencing, Revoke): Ledger._revoke_draining,
    (State.fencing, Deadline): Ledger._deadline_draining,
    (State.fencing, PeerEnded): Ledger._peer_ended,
    (State.fencing, PeerNotEnded): Ledger._peer_not_ended,
    (State.fencing, DeliveryFailed): Ledger._ignore,
    (State.scrubbing, Returned): Ledger._returned,
    (State.scrubbing, ScrubBlocked): Ledger._scrub_blocked,
    (State.scrubbing, ScrubAgain): Ledger._scrub_again,
    (State.scrubbing, Ending): Ledger._ignore,
    (State.scrubbing, Revoke): Ledger._ignore,
    (State.scrubbing, Deadline): Ledger._ignore,
    (State.scrubbing, PeerEnded): Ledger._peer_ended,
    (State.scrubbing, PeerNotEnded): Ledger._ignore,
    (State.scrubbing, DeliveryFailed): Ledger._ignore,
    **HOST_FACTS,
}
