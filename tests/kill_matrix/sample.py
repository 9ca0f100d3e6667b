"""A random part of the matrix: calls spread over the whole walk, its helpers and its recovery."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal

from tests.walk.moments import SEED, drawn

from .run import Kill, Outcome
from .tap import Victim

Kind = Literal["daemon", "helper", "both", "recovery"]
Wanted = Mapping[Kind, int]
_VICTIMS: tuple[Victim, ...] = ("daemon", "helper", "both")
# Threads take turns as they like, so that a run may not have the call that it was to be killed at:
# then another is drawn, at most so many for each that is wanted.
_TRIES = 5


def kind_of(kill: Kill) -> Kind:
    return "recovery" if kill.again_at else kill.victim


def hit(outcome: Outcome) -> bool:
    """Whether it was killed at the call that this run was about."""
    called = outcome.killed_again if outcome.kill.again_at else outcome.killed
    return called is not None


def share_of(whole: Outcome, share: float) -> Wanted:
    """So much of the calls of each kind, rounded up. ``whole`` is the walk without a kill."""
    return {kind: math.ceil(share * calls) for kind, calls in _calls(whole).items()}


def number_of(whole: Outcome, number: int) -> Wanted:
    """So many in all, of each kind as its calls are to the others', and one at least."""
    calls = _calls(whole)
    wanted = dict.fromkeys(calls, 1)
    fair = number / sum(calls.values())
    while sum(wanted.values()) < number:
        behind = max(calls, key=lambda kind: fair * calls[kind] - wanted[kind])
        wanted[behind] += 1
    return wanted


def killed(whole: Outcome, wanted: Wanted, attempt: Callable[[Kill], Outcome]) -> Iterator[Outcome]:
    """Attempts, until of each kind as many have hit as are wanted, or it does not come about."""
    walk, calls = whole.kill.walk, _calls(whole)
    recoveries: dict[int, int] = {}

    def attempts(kills: Iterable[Kill], count: int) -> Iterator[Outcome]:
        hits = 0
        for kill in islice(kills, _TRIES * count):
            outcome = attempt(kill)
            yield outcome
            hits += hit(outcome)
            if hits >= count:
                return

    for victim in _VICTIMS:
        if count := wanted.get(victim, 0):
            kills = (Kill(walk, at, victim) for at in _moments(walk, victim, count, calls[victim]))
            for outcome in attempts(kills, count):
                if hit(outcome) and victim == "daemon":
                    recoveries[outcome.kill.at] = outcome.recovery_calls
                yield outcome
    if count := wanted.get("recovery", 0):
        yield from attempts(_recovery_kills(walk, recoveries, count), count)


def _recovery_kills(walk: str, recoveries: Mapping[int, int], count: int) -> Iterator[Kill]:
    """Kills once more after one of the kills whose recoveries had so many calls."""
    chance = random.Random(f"{SEED} {walk} first")
    for number in _moments(walk, "recovery", count, max(recoveries.values(), default=0)):
        first = chance.choice([at for at, calls in recoveries.items() if calls >= number])
        yield Kill(walk, first, again_at=number)


def _moments(walk: str, kind: Kind, count: int, calls: int) -> Iterator[int]:
    """Spread over all calls; then, in the place of those that did not hit, anywhere."""
    if not calls:
        return
    yield from drawn(f"{walk} {kind}", count, calls)
    chance = random.Random(f"{SEED} {walk} {kind} more")
    while True:
        yield chance.randint(1, calls)


def _calls(whole: Outcome) -> dict[Kind, int]:
    """How many calls there are of each kind, without those of which there are none."""
    calls: dict[Kind, int] = {
        "daemon": whole.calls,
        "helper": whole.helper_calls,
        "both": whole.helper_calls,
        "recovery": whole.recovery_calls,
    }
    return {kind: number for kind, number in calls.items() if number}
