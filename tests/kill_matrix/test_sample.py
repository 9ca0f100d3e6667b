"""What a random part of the matrix is made of."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from .run import Kill, Outcome
from .sample import killed, kind_of, number_of, share_of
from .tally import Tally, tell

WHOLE = Outcome(Kill("release"), None, None, 57, 5, 21, None, 0.0)


def attempt(kill: Kill) -> Outcome:
    """Every call is there, and a recovery has ever fewer."""
    again = "call" if 0 < kill.again_at <= 60 - kill.at else None
    return Outcome(kill, "call", again, kill.at, 0, 60 - kill.at, None, 0.0)


@pytest.mark.parametrize("number", [3, 4, 13, 50])
def test_as_many_as_were_asked_for_and_some_of_each(number: int) -> None:
    wanted = number_of(WHOLE, number)
    assert sum(wanted.values()) == max(4, number)
    assert all(wanted.values())


def test_a_share_is_rounded_up() -> None:
    assert share_of(WHOLE, 0.1) == {"daemon": 6, "helper": 1, "both": 1, "recovery": 3}
    assert share_of(replace(WHOLE, helper_calls=0), 0.1) == {"daemon": 6, "recovery": 3}


def test_kills_are_of_each_kind_as_many_as_are_wanted() -> None:
    tally = Tally("release", 57)
    wanted = number_of(WHOLE, 20)
    for outcome in killed(WHOLE, wanted, attempt):
        tally.add(outcome)
    assert tally.killed == wanted
    assert tally.missed == 0
    assert tally.reached > 30
    assert tally.recovery_reached > 0


def test_another_is_tried_for_one_that_did_not_hit() -> None:
    calls: list[Kill] = []

    def every_other(kill: Kill) -> Outcome:
        calls.append(kill)
        missing = len(calls) % 2 == 1
        found = attempt(kill)
        return replace(found, killed=None, killed_again=None) if missing else found

    tally = Tally("release", 57)
    for outcome in killed(WHOLE, {"daemon": 5}, every_other):
        tally.add(outcome)
    assert (tally.killed["daemon"], tally.missed) == (5, 5)


def test_what_is_never_there_is_not_tried_for_ever() -> None:
    never = [
        kind_of(outcome.kill)
        for outcome in killed(
            WHOLE, {"daemon": 2, "recovery": 2}, lambda kill: replace(attempt(kill), killed=None)
        )
    ]
    assert 2 < len(never) < 30
    assert set(never) == {"daemon"}, "no recovery without a kill before it"


def test_all_walks_are_told_in_one_table() -> None:
    tally = Tally("release", 57)
    for outcome in killed(WHOLE, {"daemon": 2, "recovery": 1}, attempt):
        tally.add(outcome)
    tally.add(replace(attempt(Kill("release", 1)), violation="forgotten"))
    lines = tell([asdict(tally)])
    assert "release" in lines[1]
    assert lines[-1] == "4 kills, 1 violations"
