"""Taking a lease back, step by step: who is asked, for how long, and who is ended."""

from __future__ import annotations

from typing import Literal

import pytest

from isod.core.ledger import Ledger
from isod.model.effect import (
    Announce,
    Effect,
    EndPeer,
    Remember,
    StartTimer,
    StopTimer,
)
from isod.model.event import (
    Deadline,
    Ending,
    Fenced,
    Granted,
    Idle,
    InUse,
    PeerEnded,
    PeerNotEnded,
    Prepared,
    PrepareFailed,
    Recovered,
    Returned,
    Revoke,
)
from isod.model.lease import Lease, State
from isod.model.reason import Reason, Refusal
from isod.model.terms import Revoke as RevokeTerm

from .build import at, device, host, lease_for

HOST = host(device("01:00.0", 1, "e1000e"))
OPEN = (at("01:00.0"),)
ASK = 30.0
EPERM = Refusal(Reason.kernel, "no right to", {})


class Taken:
    """A ledger with one lease that was handed over at 100 seconds."""

    def __init__(self, then: Literal["wait", "kill"]) -> None:
        self.ledger = Ledger()
        lease = lease_for(HOST, "L1", OPEN, None, 0, revoke=RevokeTerm(ASK, then))
        self.ledger.apply(Granted(lease), 100)
        self.ledger.apply(Prepared("L1", (), lease.devices), 100)

    @property
    def lease(self) -> Lease:
        return self.ledger.leases["L1"]

    def announced(self, effects: tuple[Effect, ...]) -> list[str]:
        return [effect.kind for effect in effects if isinstance(effect, Announce)]


def of(kind: type[Effect], effects: tuple[Effect, ...]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


@pytest.fixture
def wait() -> Taken:
    return Taken("wait")


@pytest.fixture
def kill() -> Taken:
    return Taken("kill")


def test_the_owner_is_asked_and_has_the_time_of_its_terms(wait: Taken) -> None:
    effects = wait.ledger.apply(Revoke("L1", "wanted"), 200)
    assert wait.lease.state is State.leased
    assert wait.announced(effects) == ["lease.revoking"]
    assert of(StartTimer, effects) == [StartTimer(wait.lease, ASK)]
    assert wait.lease.revocation is not None
    assert wait.lease.revocation.deadline == 230
    assert isinstance(effects[0], Remember)


def test_asking_twice_changes_no_deadline(wait: Taken) -> None:
    wait.ledger.apply(Revoke("L1", "wanted"), 200)
    assert wait.ledger.apply(Revoke("L1", "still wanted"), 220) == ()
    assert wait.lease.revocation is not None
    assert wait.lease.revocation.deadline == 230


def test_after_the_deadline_it_drains_and_says_why(wait: Taken) -> None:
    wait.ledger.apply(Revoke("L1", "wanted"), 200)
    effects = wait.ledger.apply(Deadline("L1"), 230)
    assert wait.lease.state is State.draining
    assert wait.lease.ending == "wanted"
    assert not of(StartTimer, effects)
    assert not of(EndPeer, wait.ledger.apply(InUse("L1", OPEN), 231))


def test_at_once_asks_nobody(kill: Taken) -> None:
    effects = kill.ledger.apply(Revoke("L1", "wanted", at_once=True), 200)
    assert kill.lease.state is State.draining
    assert not of(StartTimer, effects)
    assert of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 201))


def test_the_peer_is_ended_after_the_deadline_while_something_is_open(kill: Taken) -> None:
    kill.ledger.apply(Revoke("L1", "wanted"), 200)
    assert not of(EndPeer, kill.ledger.apply(Deadline("L1"), 230))
    assert of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 231))
    assert not of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 232)), "once is enough"
    effects = kill.ledger.apply(PeerEnded("L1", "process 4000 by SIGKILL"), 233)
    assert kill.announced(effects) == ["lease.ended_peer"]


def test_nobody_is_ended_who_has_let_go(kill: Taken) -> None:
    kill.ledger.apply(Revoke("L1", "wanted"), 200)
    kill.ledger.apply(Deadline("L1"), 230)
    for event in (Idle("L1"), Fenced("L1")):
        assert not of(EndPeer, kill.ledger.apply(event, 231))
    assert of(StopTimer, kill.ledger.apply(Returned("L1"), 231))


def test_a_release_within_the_time_keeps_the_deadline(kill: Taken) -> None:
    kill.ledger.apply(Revoke("L1", "wanted"), 200)
    assert not of(StartTimer, kill.ledger.apply(Ending("L1", "released"), 210))
    assert not of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 211))
    kill.ledger.apply(Deadline("L1"), 230)
    assert of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 231))


def test_what_drains_by_itself_has_a_deadline_where_the_rule_kills(
    kill: Taken, wait: Taken
) -> None:
    assert of(StartTimer, kill.ledger.apply(Ending("L1", "released"), 200))
    assert not of(StartTimer, wait.ledger.apply(Ending("L1", "released"), 200))
    kill.ledger.apply(InUse("L1", OPEN), 201)
    kill.ledger.apply(Deadline("L1"), 230)
    assert of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 231))


def test_an_unbind_that_waits_ends_the_peer_as_well(kill: Taken) -> None:
    """A cdev that was never bound shows in no probe."""
    kill.ledger.apply(Ending("L1", "released"), 200)
    kill.ledger.apply(Idle("L1"), 200)
    kill.ledger.apply(InUse("L1", OPEN), 202)
    assert of(EndPeer, kill.ledger.apply(Deadline("L1"), 230))


def test_what_could_not_be_ended_is_told_and_may_be_tried_again(kill: Taken) -> None:
    kill.ledger.apply(Revoke("L1", "wanted", at_once=True), 200)
    kill.ledger.apply(InUse("L1", OPEN), 201)
    effects = kill.ledger.apply(PeerNotEnded("L1", EPERM), 201)
    assert kill.announced(effects) == ["lease.peer_not_ended"]
    assert kill.lease.state is State.draining
    assert not of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 202))
    kill.ledger.apply(Revoke("L1", "now really"), 203)
    assert of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 204))


def test_a_restart_leaves_what_is_left_of_the_time(kill: Taken) -> None:
    kill.ledger.apply(Revoke("L1", "wanted"), 200)
    row, again = kill.lease, Ledger()
    effects = again.apply(Recovered(row, held=True), 220)
    assert again.leases["L1"].state is State.leased
    assert [effect.seconds for effect in effects if isinstance(effect, StartTimer)] == [10.0]


def test_after_a_restart_the_owner_is_asked_again(kill: Taken) -> None:
    """Whether it was told before isod died, nobody knows; the time runs."""
    kill.ledger.apply(Revoke("L1", "wanted"), 200)
    told = kill.announced(Ledger().apply(Recovered(kill.lease, held=True), 220))
    assert told == ["lease.revoking"]


def test_after_a_restart_nobody_is_asked_who_was_not_before(kill: Taken) -> None:
    assert not kill.announced(Ledger().apply(Recovered(kill.lease, held=True), 220))


def test_a_clock_that_was_set_back_gives_no_more_time(kill: Taken) -> None:
    kill.ledger.apply(Revoke("L1", "wanted"), 200)
    effects = Ledger().apply(Recovered(kill.lease, held=True), 50)
    assert [effect.seconds for effect in effects if isinstance(effect, StartTimer)] == [ASK]


def test_after_a_restart_the_peer_is_ended_anew(kill: Taken) -> None:
    """Whether the signal went out before isod died, nobody knows."""
    kill.ledger.apply(Revoke("L1", "wanted", at_once=True), 200)
    kill.ledger.apply(InUse("L1", OPEN), 201)
    again = Ledger()
    again.apply(Recovered(kill.lease, held=False), 300)
    assert of(EndPeer, again.apply(InUse("L1", OPEN), 301))


def test_what_was_never_given_out_has_nobody_to_be_ended() -> None:
    ledger = Ledger()
    lease = lease_for(HOST, "L1", OPEN, None, 0, revoke=RevokeTerm(ASK, "kill"))
    ledger.apply(Granted(lease), 100)
    ledger.apply(Revoke("L1", "wanted", at_once=True), 100)
    effects = ledger.apply(PrepareFailed("L1", 1, EPERM), 101)
    effects += ledger.apply(InUse("L1", OPEN), 102)
    assert ledger.leases["L1"].state is State.draining
    assert not of(StartTimer, effects)
    assert not of(EndPeer, effects)


def test_a_fence_that_has_not_come_back_yet_is_no_proof(kill: Taken) -> None:
    """It may return in the next moment; only one that waits says that something is open."""
    kill.ledger.apply(Ending("L1", "released"), 200)
    kill.ledger.apply(Idle("L1"), 229)
    assert not of(EndPeer, kill.ledger.apply(Deadline("L1"), 230))
    assert of(EndPeer, kill.ledger.apply(InUse("L1", OPEN), 231))
