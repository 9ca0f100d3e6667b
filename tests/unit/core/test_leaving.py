"""A device that is taken away under a lease: its owner is told, has its time, and is ended only for
what it is known to keep open."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from isod.core.isolation import Isolation
from isod.core.ledger import Effects, Ledger
from isod.core.plan import plan_reopen
from isod.core.reconcile import news
from isod.model.effect import Announce, EndPeer, Prepare, StartTimer, StopTimer
from isod.model.event import (
    Deadline,
    DeviceGone,
    Ending,
    Granted,
    HeldOutside,
    InUse,
    Prepared,
    PrepareFailed,
    Recovered,
    Reopen,
    Revoke,
)
from isod.model.host import HostSnapshot
from isod.model.lease import Lease, State
from isod.model.reason import Reason, Refusal
from isod.model.step import Fence
from isod.model.terms import Revoke as RevokeTerm

from .build import at, device, host, lease_for

CARD, SIBLING, OTHER = at("01:00.0"), at("01:00.1"), at("02:00.0")
HOST = host(device("01:00.0", 1), device("01:00.1", 1), device("02:00.0", 2))
ASK = 30.0
IN_USE = Refusal(Reason.in_use, "01:00.0 is still open", {})
STUCK = Refusal(Reason.kernel, "the helper failed", {})


class Taken:
    """A lease of CARD and OTHER, handed over at 100 seconds."""

    def __init__(self, then: Literal["wait", "kill"] = "wait") -> None:
        self.ledger = Ledger()
        revoke = RevokeTerm(ASK, then)
        lease = lease_for(HOST, "L1", (CARD, OTHER), None, 0, revoke=revoke)
        self.ledger.apply(Granted(lease), 100)
        self.ledger.apply(Prepared("L1", (), lease.devices), 100)

    @property
    def lease(self) -> Lease:
        return self.ledger.leases["L1"]

    def take(self, now: float = 200) -> Effects:
        return self.ledger.apply(HeldOutside("L1", CARD, "no driver"), now)

    def overdue(self) -> Effects:
        self.take()
        return self.ledger.apply(Deadline("L1"), 230)


def notes(effects: Effects) -> list[tuple[str, str | None]]:
    return [(one.kind, one.note) for one in effects if isinstance(one, Announce)]


@pytest.mark.parametrize(("then", "ends"), [("wait", ""), ("kill", ", or be ended")])
def test_the_owner_is_told_at_once_how_long_it_has(
    then: Literal["wait", "kill"], ends: str
) -> None:
    taken = Taken(then)
    effects = taken.take()
    words = f"01:00.0 is on no driver: close it within 30 s{ends}"
    assert notes(effects) == [("lease.held_outside", words)]
    assert StartTimer(taken.lease, ASK) in effects
    assert (taken.lease.state, taken.lease.leaving) == (State.leased, 230.0)


def test_a_second_device_does_not_begin_the_time_anew() -> None:
    taken = Taken()
    taken.take()
    effects = taken.ledger.apply(HeldOutside("L1", OTHER, "no driver"), 210)
    assert not [one for one in effects if isinstance(one, StartTimer)]
    assert taken.lease.leaving == 230.0


def test_who_cannot_have_it_open_has_nothing_to_close() -> None:
    """A sibling that is parked on iommufd was never handed over."""
    taken = Taken("kill")
    effects = taken.ledger.apply(HeldOutside("L1", SIBLING, "no driver"), 200)
    assert notes(effects) == [("lease.held_outside", "01:00.1 is on no driver")]
    assert taken.lease.leaving is None


def test_when_it_is_gone_the_lease_goes_on_with_fewer_devices() -> None:
    taken = Taken("kill")
    taken.take()
    generation = HOST.devices[CARD].generation
    effects = taken.ledger.apply(DeviceGone("L1", CARD, generation), 210)
    assert StopTimer(taken.lease) in effects
    assert (taken.lease.state, taken.lease.leaving) == (State.leased, None)
    assert taken.lease.requested == (OTHER,)


@pytest.mark.parametrize("by", [None, "e1000e"])
def test_when_it_is_somewhere_again_nothing_is_waited_for(by: str | None) -> None:
    taken = Taken("kill")
    taken.take()
    effects = taken.ledger.apply(HeldOutside("L1", CARD, by), 210)
    assert StopTimer(taken.lease) in effects
    assert taken.lease.leaving is None


def test_whether_it_is_closed_when_the_time_is_over_a_fence_tells() -> None:
    taken = Taken("kill")
    effects = taken.overdue()
    (prepare,) = [one for one in effects if isinstance(one, Prepare)]
    assert prepare.steps == (Fence(CARD, HOST.devices[CARD].generation),)
    assert taken.lease.state is State.proving
    assert taken.lease.state.public == "leased"


def test_who_has_closed_it_keeps_the_rest() -> None:
    taken = Taken("kill")
    taken.overdue()
    effects = taken.ledger.apply(Prepared("L1", (), taken.lease.devices), 231)
    assert notes(effects) == []
    assert (taken.lease.state, taken.lease.leaving) == (State.leased, None)


def test_who_keeps_it_open_is_ended_if_the_rule_says_so() -> None:
    taken = Taken("kill")
    taken.overdue()
    effects = taken.ledger.apply(PrepareFailed("L1", 1, IN_USE), 232)
    why = "01:00.0 is being taken away and was not closed in time"
    assert notes(effects) == [("lease.draining", why)]
    assert taken.lease.state is State.draining
    effects = taken.ledger.apply(InUse("L1", (CARD,)), 233)
    assert [one for one in effects if isinstance(one, EndPeer)]


def test_otherwise_it_is_reported_and_the_lease_stands() -> None:
    taken = Taken("wait")
    taken.overdue()
    effects = taken.ledger.apply(PrepareFailed("L1", 1, IN_USE), 232)
    why = "01:00.0 is being taken away and was not closed in time"
    assert notes(effects) == [("lease.held_outside", why)]
    assert (taken.lease.state, taken.lease.leaving) == (State.leased, 230.0)


def test_nobody_is_ended_for_what_could_not_be_told() -> None:
    taken = Taken("kill")
    taken.overdue()
    effects = taken.ledger.apply(PrepareFailed("L1", 0, STUCK), 232)
    assert notes(effects) == [("lease.held_outside", "the helper failed")]
    assert taken.lease.state is State.leased


def test_who_ends_the_lease_meanwhile_ends_it_afterwards() -> None:
    taken = Taken("kill")
    taken.overdue()
    assert taken.ledger.apply(Ending("L1", "released"), 231) == ()
    taken.ledger.apply(PrepareFailed("L1", 1, IN_USE), 232)
    assert (taken.lease.state, taken.lease.ending) == (State.draining, "released")


def test_a_lease_that_is_taken_back_as_a_whole_has_the_time_for_that() -> None:
    taken = Taken("wait")
    taken.take()
    effects = taken.ledger.apply(Revoke("L1", "by an administrator"), 210)
    kinds = [type(one) for one in effects if isinstance(one, StartTimer | StopTimer)]
    assert kinds == [StopTimer, StartTimer]
    assert taken.lease.leaving is None
    assert taken.lease.revocation is not None
    assert taken.lease.revocation.deadline == 240.0


def test_the_end_of_a_lease_is_the_end_of_its_time() -> None:
    taken = Taken("wait")
    taken.take()
    effects = taken.ledger.apply(Ending("L1", "released"), 210)
    assert [one for one in effects if isinstance(one, StopTimer)]
    assert taken.lease.leaving is None


def test_a_lease_that_drains_has_no_such_time() -> None:
    taken = Taken("wait")
    for address in (CARD, OTHER):
        taken.ledger.apply(HeldOutside("L1", address, "no driver"), 200)
    taken.ledger.apply(Ending("L1", "released"), 210)
    effects = taken.ledger.apply(DeviceGone("L1", CARD, HOST.devices[CARD].generation), 220)
    assert not [one for one in effects if isinstance(one, StartTimer)]
    assert taken.lease.leaving is None


def test_while_an_operation_is_under_way_it_is_looked_later() -> None:
    taken = Taken("kill")
    taken.take()
    taken.ledger.apply(Reopen("L1", plan_reopen(taken.lease)), 220)
    assert taken.ledger.apply(Deadline("L1"), 230) == (StartTimer(taken.lease, 1.0),)
    assert taken.lease.state is State.reopening


@pytest.mark.parametrize(("now", "left"), [(210.0, 20.0), (500.0, 0.0), (50.0, 30.0)])
def test_a_restart_leaves_what_is_left_of_the_time(now: float, left: float) -> None:
    taken = Taken("kill")
    taken.take()
    ledger = Ledger()
    effects = ledger.apply(Recovered(taken.lease, held=True), now)
    assert [one.seconds for one in effects if isinstance(one, StartTimer)] == [left]
    assert ledger.leases["L1"].state is State.leased


def test_a_restart_in_the_middle_of_the_proof_begins_it_anew() -> None:
    taken = Taken("kill")
    taken.overdue()
    ledger = Ledger()
    ledger.apply(Recovered(taken.lease, held=True), 240)
    assert ledger.leases["L1"].state is State.leased
    assert [one for one in ledger.apply(Deadline("L1"), 240) if isinstance(one, Prepare)]


def on_no_driver(snapshot: HostSnapshot) -> HostSnapshot:
    vfio = {a: replace(d, driver="vfio-pci") for a, d in snapshot.devices.items()}
    return replace(snapshot, devices={**vfio, CARD: replace(vfio[CARD], driver=None)})


def test_what_isod_itself_has_unbound_for_fresh_fds_is_nobody_elses() -> None:
    """The owner had an unbound cdev open when it asked for fresh ones: the fence waits for it."""
    taken = Taken("kill")
    plan = plan_reopen(taken.lease)
    place = next(n for n, s in enumerate(plan, 1) if isinstance(s, Fence) and s.address == CARD)
    taken.ledger.apply(Reopen("L1", plan), 200)
    taken.ledger.apply(PrepareFailed("L1", place, IN_USE), 202)
    isolation = Isolation(on_no_driver(HOST))
    assert HeldOutside("L1", CARD, "no driver") not in news(isolation, taken.ledger)
    taken.ledger.apply(Reopen("L1", plan_reopen(taken.lease)), 210)
    taken.ledger.apply(Prepared("L1", (), taken.lease.devices), 211)
    assert HeldOutside("L1", CARD, "no driver") in news(isolation, taken.ledger)
