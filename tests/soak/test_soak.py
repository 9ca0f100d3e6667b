"""A short soak with all tests; ``make soak`` is a long one."""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

import pytest

from .soak import Soak

OPERATIONS = 10_000
CLIENTS = 50


@pytest.mark.slow
def test_a_crowd_leaves_nothing(record_property: Callable[[str, object], None]) -> None:
    seed = SystemRandom().randrange(10**9)
    print(f"ISOD_SEED={seed}")
    soak = Soak(CLIENTS, seed)
    soak.run(OPERATIONS, rests=3)
    record_property("soak", dict(soak.totals))
    doings = ("granted", "let go", "flood", "stall", "watch", "opened anew", "refused: group_busy")
    for done in doings:
        assert soak.totals[done], f"nobody has {done}"
    assert soak.totals["holds taken from the service manager"]
    assert soak.records["lease.ended"]
