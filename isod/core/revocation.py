"""Taking a lease back by its terms: ask, wait for the deadline, end the peer.

    leased --Revoke--> asked (still leased) --Deadline--> draining --InUse--> the peer is ended

Asked or not, a lease under ``then = "kill"`` that drains has a deadline. The peer is ended only
when that has passed *and* something is seen open: nobody is ended who has let go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from isod.model.effect import Effect, EndPeer, StartTimer
from isod.model.lease import Lease, Revocation


def ask(lease: Lease, reason: str, now: float) -> tuple[Lease, tuple[Effect, ...]]:
    """The owner is asked to let go, once: a second wish to revoke changes no deadline."""
    if lease.revocation is not None:
        return lease, ()
    seconds = lease.terms.revoke.ask
    lease = replace(lease, revocation=Revocation(now + seconds, reason))
    return lease, (StartTimer(lease, seconds),)


def overdue(lease: Lease, reason: str | None, now: float) -> Lease:
    """The lease with its time to let go over, whether or not it was asked before."""
    given = lease.revocation or Revocation(now, reason)
    deadline = min(given.deadline, now)
    return replace(
        lease,
        revocation=replace(given, deadline=deadline, why=given.why or reason, overdue=True),
    )


def why(lease: Lease) -> str:
    """Why a lease ends whose deadline has passed."""
    given = lease.revocation
    return "its deadline has passed" if given is None or given.why is None else given.why


def draining(lease: Lease, now: float) -> tuple[Lease, tuple[Effect, ...]]:
    """The lease drains: the deadline by which all has to be closed, if its rule threatens. What
    was never given out has nobody to be ended for it."""
    if lease.terms.revoke.then != "kill" or not lease.ever_leased or lease.revocation is not None:
        return lease, ()
    seconds = lease.terms.revoke.ask
    lease = replace(lease, revocation=Revocation(now + seconds))
    return lease, (StartTimer(lease, seconds),)


def resumed(lease: Lease, now: float) -> tuple[Lease, tuple[Effect, ...]]:
    """A lease as isod finds it after a restart: its timer runs for what is left of the time, and
    whoever was being ended is ended again. A clock that was set does not give it more time."""
    given = lease.revocation
    if given is None:
        return lease, ()
    if given.overdue:
        return replace(lease, revocation=replace(given, peer=None)), ()
    seconds = time_left(lease, given.deadline, now)
    lease = replace(lease, revocation=replace(given, deadline=now + seconds))
    return lease, (StartTimer(lease, seconds),)


def time_left(lease: Lease, deadline: float, now: float) -> float:
    """How many seconds the owner has until a deadline of the lease's terms. A clock that was set
    back gives no more than the terms do."""
    return min(max(deadline - now, 0.0), lease.terms.revoke.ask)


def told(lease: Lease, peer: Literal["ended", "failed"]) -> Lease:
    """The lease with what became of ending its peer."""
    assert lease.revocation is not None, "nobody was to be ended"
    return replace(lease, revocation=replace(lease.revocation, peer=peer))


def again(lease: Lease) -> Lease:
    """The lease with whatever was tried to be tried again."""
    given = lease.revocation
    if given is None or given.peer in (None, "ending"):
        return lease
    return replace(lease, revocation=replace(given, peer=None))


def end_peer(lease: Lease) -> tuple[Lease, tuple[Effect, ...]]:
    """End the peer, once, if it is time to and something is open."""
    given = lease.revocation
    if given is None or not given.overdue or given.peer is not None:
        return lease, ()
    if lease.terms.revoke.then != "kill" or not lease.ever_leased or not lease.open:
        return lease, ()
    lease = replace(lease, revocation=replace(given, peer="ending"))
    return lease, (EndPeer(lease),)
