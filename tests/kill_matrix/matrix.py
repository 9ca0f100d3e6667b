"""The whole matrix: each walk killed at each n, from 1 until it completes unkilled."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from .pool import Pool
from .run import Kill, Outcome
from .tap import Victim

# Threads take turns as they like, so that one run of a walk has a few calls more than another.
# A call that so many runs did not have is not there, and after so many of these the walk is over.
TRIES = 3
BEYOND = 3
# What a few runs have and most do not is tried so often.
RARE = 20

Tell = Callable[[Outcome], None]
Try = Callable[[int], Kill]
Hit = Callable[[Outcome], bool]


@dataclass
class Row:
    """What came of one walk with one kind of kill. ``hit`` are the n at which it was killed."""

    name: str
    hit: dict[int, Outcome] = field(default_factory=dict)
    violations: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def reached(self) -> int:
        return max(self.hit, default=0)

    @property
    def missed(self) -> list[int]:
        """Calls before the last one that no run had when it was to be killed at them."""
        return [number for number in range(1, self.reached) if number not in self.hit]


def every_call(pool: Pool, walk: str, victim: Victim, tell: Tell) -> Row:
    """Kill at every n until there is none any more."""
    whom = {"daemon": "", "helper": ", helper killed", "both": ", helper and daemon killed"}
    row = Row(walk + whom[victim])

    def first(number: int) -> Kill:
        return Kill(walk, number, victim)

    _until_unkilled(pool, row, first, lambda outcome: outcome.killed is not None, tell)
    return row


def every_recovery_call(
    pool: Pool, walk: str, outcomes: Mapping[int, Outcome], chance: random.Random, tell: Tell
) -> Row:
    """Kill once more at every call of a recovery: that after one of those kills, chosen at random,
    whose recovery had so many calls."""
    recoveries = {at: outcome.recovery_calls for at, outcome in outcomes.items()}
    longest = max(recoveries, key=lambda at: recoveries[at])
    row = Row(f"{walk}, then its recovery")

    def again(number: int) -> Kill:
        long_enough = [at for at, calls in recoveries.items() if calls >= number]
        return Kill(walk, chance.choice(long_enough or [longest]), again_at=number)

    _until_unkilled(pool, row, again, lambda outcome: outcome.killed_again is not None, tell)
    return row


def _until_unkilled(pool: Pool, row: Row, attempt: Try, hit: Hit, tell: Tell) -> None:
    def take(number: int, outcome: Outcome) -> bool:
        """Whether the number need not be tried again."""
        row.seconds += outcome.seconds
        tell(outcome)
        if outcome.violation is not None:
            row.violations.append(outcome)
        if hit(outcome):
            row.hit[number] = outcome
        return hit(outcome) or outcome.violation is not None

    under_way: deque[tuple[int, int, Future[Outcome]]] = deque()
    number = beyond = 0
    while under_way or beyond < BEYOND:
        while beyond < BEYOND and len(under_way) < 2 * pool.jobs:
            number += 1
            under_way.append((number, 1, pool.submit(attempt(number))))
        at, tries, future = under_way.popleft()
        done = take(at, future.result())
        if at in row.hit:
            beyond = 0
        elif not done and tries < TRIES and beyond < BEYOND:
            under_way.appendleft((at, tries + 1, pool.submit(attempt(at))))
        else:
            beyond += 1
    for rare in row.missed:
        for _ in range(RARE):
            if take(rare, pool.submit(attempt(rare)).result()):
                break


def table(rows: Iterable[Row]) -> str:
    """The rows as text, with their sums."""
    listed = list(rows)
    width = max([len(row.name) for row in listed], default=0)
    lines = [f"{'walk':<{width}}  n reached  killed at  violations"]
    lines += [
        f"{row.name:<{width}}  {row.reached:>9}  {len(row.hit):>9}  {len(row.violations):>10}"
        for row in listed
    ]
    kills = sum(len(row.hit) for row in listed)
    violations = sum(len(row.violations) for row in listed)
    lines.append(f"{'together':<{width}}  {'':>9}  {kills:>9}  {violations:>10}")
    lines += [
        f"{row.name}: none of {RARE} runs had a call {', '.join(map(str, row.missed))}"
        for row in listed
        if row.missed
    ]
    return "\n".join(lines)
