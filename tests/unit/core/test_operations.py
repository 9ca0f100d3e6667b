"""One operation per reset domain at a time, in order, through the ledger."""

from __future__ import annotations

from dataclasses import replace

from isod.core.ledger import Ledger
from isod.model.address import Address
from isod.model.effect import Effect, GiveBack, Prepare
from isod.model.event import (
    Ending,
    Event,
    Fenced,
    Granted,
    Idle,
    Prepared,
    PrepareFailed,
    Recovered,
    Returned,
)
from isod.model.lease import Lease, State
from isod.model.reason import Reason, Refusal

from .build import at, bridge, device, host, lease_for

CARD = host(
    replace(bridge("00:05.0", 1), secondary_bus="0000:01"),
    device("01:00.0", 2, "igb", virtual_functions=(at("01:10.0"), at("02:10.0"))),
    device("01:10.0", 4, physical_function=at("01:00.0")),
    device("02:10.0", 5, physical_function=at("01:00.0")),
    device("02:10.2", 6, physical_function=at("01:00.0")),
    device("07:00.0", 7),
)
FAILED = Refusal(Reason.kernel, "injected", {})


def lease(name: str, *shorts: str) -> Lease:
    return lease_for(CARD, name, [at(short) for short in shorts], None, 8)


def begun(effects: tuple[Effect, ...]) -> list[str]:
    """The operations that come out, as ``prepare L1``."""
    return [
        f"{'prepare' if isinstance(effect, Prepare) else 'back'} {effect.lease.id}"
        for effect in effects
        if isinstance(effect, Prepare | GiveBack)
    ]


def after(ledger: Ledger, *events: Event) -> list[str]:
    return [word for event in events for word in begun(ledger.apply(event))]


def test_two_virtual_functions_of_a_card_are_prepared_one_after_the_other() -> None:
    ledger = Ledger()
    assert after(ledger, Granted(lease("L1", "01:10.0"))) == ["prepare L1"]
    assert after(ledger, Granted(lease("L2", "02:10.0"))) == []
    assert after(ledger, Prepared("L1", (), ())) == ["prepare L2"]


def test_what_shares_nothing_is_not_held_up() -> None:
    ledger = Ledger()
    events = (Granted(lease("L1", "01:10.0")), Granted(lease("L2", "07:00.0")))
    assert after(ledger, *events) == ["prepare L1", "prepare L2"]


def test_a_failed_operation_makes_room_as_well() -> None:
    ledger = Ledger()
    after(ledger, Granted(lease("L1", "01:10.0")), Granted(lease("L2", "02:10.0")))
    assert after(ledger, PrepareFailed("L1", 0, FAILED)) == ["prepare L2"]


def test_the_way_back_is_an_operation_and_waiting_for_the_client_is_none() -> None:
    ledger = Ledger()
    after(ledger, Granted(lease("L1", "01:10.0")), Prepared("L1", (), ()))
    after(ledger, Ending("L1", "released"), Idle("L1"))
    assert after(ledger, Granted(lease("L2", "02:10.0"))) == ["prepare L2"]
    assert after(ledger, Fenced("L1")) == []
    assert after(ledger, Prepared("L2", (), ())) == ["back L1"]
    assert ledger.leases["L1"].state is State.scrubbing
    after(ledger, Granted(lease("L3", "02:10.2")))
    assert after(ledger, Returned("L1")) == ["prepare L3"]


def test_who_came_first_goes_first_even_where_a_later_one_could_go_at_once() -> None:
    """L3 meets only L2, which is held back; it must not overtake it for ever."""
    ledger = Ledger()
    both: tuple[Address, ...] = (at("01:10.0"), at("07:00.0"))
    after(ledger, Granted(lease("L1", "01:10.0")))
    second = replace(lease("L2", "02:10.0"), domain=(*lease("L2", "02:10.0").domain, *both))
    assert after(ledger, Granted(second), Granted(lease("L3", "07:00.0"))) == []
    assert after(ledger, Prepared("L1", (), ())) == ["prepare L2"]
    assert after(ledger, Prepared("L2", (), ())) == ["prepare L3"]


def test_a_restart_forgets_what_ran_and_begins_the_ways_back_in_turn() -> None:
    ledger = Ledger()
    rows = [lease("L1", "01:10.0"), lease("L2", "02:10.0")]
    for row in rows:
        after(ledger, Recovered(row, held=False), Idle(row.id))
    assert after(ledger, Fenced("L1")) == ["back L1"]
    assert after(ledger, Fenced("L2")) == []
    assert after(ledger, Returned("L1")) == ["back L2"]
