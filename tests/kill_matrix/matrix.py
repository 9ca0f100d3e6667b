"""The whole matrix: each walk killed at each n, from 1 until it completes unkilled."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from .pool import Pool
from .run import Kill, Outcome
from .tap import Victim

# Threads take turns as they like, so that one run of a walk has a few calls more than another.
# A walk has no n-th call if it completed so often without one.
TRIES = 3


@dataclass
class Row:
    """What came of one walk with one kind of kill. ``reached`` is the last n that was killed at."""

    name: str
    reached: int = 0
    kills: int = 0
    violations: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, outcome: Outcome, number: int, hit: bool) -> None:
        self.seconds += outcome.seconds
        if hit:
            self.kills += 1
            self.reached = max(self.reached, number)
        if outcome.violation is not None:
            self.violations.append(outcome)


Tell = Callable[[Outcome], None]


def every_call(pool: Pool, walk: str, victim: Victim, tell: Tell) -> tuple[Row, list[Outcome]]:
    """Kill at every n until there is none any more; with what came of each."""
    row = Row(f"{walk}" if victim == "daemon" else f"{walk}, {victim} killed")
    row.name = row.name.replace("both killed", "helper and daemon killed")
    outcomes: list[Outcome] = []
    under_way: deque[tuple[int, int, Future[Outcome]]] = deque()
    number, end = 0, False
    while under_way or not end:
        while not end and len(under_way) < 2 * pool.jobs:
            number += 1
            under_way.append((number, 1, pool.submit(Kill(walk, number, victim))))
        at, tries, future = under_way.popleft()
        outcome = future.result()
        hit = outcome.killed is not None
        row.take(outcome, at, hit)
        tell(outcome)
        if hit:
            outcomes.append(outcome)
        elif outcome.violation is None and tries < TRIES and not end:
            under_way.appendleft((at, tries + 1, pool.submit(Kill(walk, at, victim))))
        else:
            end = True
    return row, outcomes


def every_recovery_call(
    pool: Pool, walk: str, outcomes: Iterable[Outcome], chance: random.Random, tell: Tell
) -> Row:
    """Kill once more at every call of a recovery: that after one of those kills, chosen at random,
    whose recovery had so many calls."""
    recoveries = {outcome.kill.at: outcome.recovery_calls for outcome in outcomes}
    row = Row(f"{walk}, then its recovery")
    under_way: deque[tuple[int, int, Future[Outcome]]] = deque()
    kills = _recoveries(walk, recoveries, chance)
    while True:
        while len(under_way) < 2 * pool.jobs and (kill := next(kills, None)) is not None:
            under_way.append((kill.again_at, 1, pool.submit(kill)))
        if not under_way:
            return row
        at, tries, future = under_way.popleft()
        outcome = future.result()
        hit = outcome.killed_again is not None
        row.take(outcome, at, hit)
        tell(outcome)
        if not hit and outcome.violation is None and tries < TRIES:
            kill = _recovery(walk, recoveries, at, chance)
            under_way.appendleft((at, tries + 1, pool.submit(kill)))


def _recoveries(walk: str, recoveries: dict[int, int], chance: random.Random) -> Iterator[Kill]:
    for at in range(1, max(recoveries.values(), default=0) + 1):
        yield _recovery(walk, recoveries, at, chance)


def _recovery(walk: str, recoveries: dict[int, int], at: int, chance: random.Random) -> Kill:
    long_enough = [first for first, calls in recoveries.items() if calls >= at]
    return Kill(walk, chance.choice(long_enough), again_at=at)


def table(rows: Iterable[Row]) -> str:
    """The rows as text, with their sums."""
    listed = list(rows)
    width = max([len(row.name) for row in listed], default=0)
    lines = [f"{'walk':<{width}}  n reached  kills  violations"]
    lines += [
        f"{row.name:<{width}}  {row.reached:>9}  {row.kills:>5}  {len(row.violations):>10}"
        for row in listed
    ]
    kills = sum(row.kills for row in listed)
    violations = sum(len(row.violations) for row in listed)
    lines.append(f"{'together':<{width}}  {'':>9}  {kills:>5}  {violations:>10}")
    return "\n".join(lines)
