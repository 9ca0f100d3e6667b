"""A random tenth of ``make kill-matrix``, on the simulated host."""

from __future__ import annotations

import pytest

from .part import Part
from .sample import share_of
from .walks import WALKS

pytestmark = pytest.mark.slow  # starts and ends many daemons

SHARE = 0.1


@pytest.mark.parametrize("walk", WALKS)
def test_killed_at_a_tenth_of_its_calls(walk: str, part: Part) -> None:
    """And the daemon that is started next at a tenth of its recovery's."""
    tally = part.kill(walk, lambda whole: share_of(whole, SHARE))
    assert tally.killed["daemon"] >= tally.calls * SHARE
    assert tally.killed["recovery"]
    assert bool(tally.killed["helper"]) == bool(tally.killed["both"])
