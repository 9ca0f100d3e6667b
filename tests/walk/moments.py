"""Moments to kill at: drawn from a seed that is printed, so that a failure can be had again.

ISOD_SEED=N in the environment repeats a run's choice.
"""

from __future__ import annotations

import os
import random
from itertools import pairwise

SEED = int(os.environ.get("ISOD_SEED") or random.SystemRandom().randrange(1 << 32))


def drawn(name: str, count: int, total: int) -> list[int]:
    """``count`` of the moments 1 to ``total``, spread over all of them: one from each of as many
    equal parts, in a random order."""
    chance = random.Random(f"{SEED} {name}")
    parts = [total * part // count for part in range(count + 1)]
    moments = [chance.randint(low + 1, max(low + 1, high)) for low, high in pairwise(parts)]
    chance.shuffle(moments)
    return moments
