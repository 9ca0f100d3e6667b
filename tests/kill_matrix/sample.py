"""A random part of the matrix: calls spread over the whole walk, its helpers and its recovery."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.walk.moments import SEED, drawn

from .run import Kill, Outcome


def sample(whole: Outcome, share: float) -> Iterator[Kill]:
    """Kills of that share of the walk's calls, of both kinds of its helpers' and of its recovery's,
    one of each at least. ``whole`` is the walk without a kill."""
    walk = whole.kill.walk

    def some(name: str, calls: int) -> list[int]:
        return drawn(f"{walk} {name}", max(1, round(share * calls)), calls) if calls else []

    for at in some("daemon", whole.calls):
        yield Kill(walk, at)
    for at in some("helper", whole.helper_calls):
        yield Kill(walk, at, "helper")
    for at in some("both", whole.helper_calls):
        yield Kill(walk, at, "both")
    chance = random.Random(f"{SEED} {walk} first")
    for at in some("recovery", whole.recovery_calls):
        yield Kill(walk, chance.randint(1, whole.calls), again_at=at)
