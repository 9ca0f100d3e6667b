"""Random kills on a real kernel: ISOD_KILLS over all walks, 100 in make kill-matrix."""

from __future__ import annotations

import math
import os

import pytest

from .part import Part
from .sample import number_of
from .walks import WALKS

KILLS = int(os.environ.get("ISOD_KILLS") or 24)
# Each walk as many, so that together they are no fewer.
_OF_ONE = math.ceil(KILLS / len(WALKS))

pytestmark = pytest.mark.lab(
    kernels=("7.2",), topology="standard", own="kills", limit=300 + 30 * KILLS
)


@pytest.mark.parametrize("walk", WALKS)
def test_killed_here_and_there(walk: str, part: Part) -> None:
    tally = part.kill(walk, lambda whole: number_of(whole, _OF_ONE), once_more=False)
    assert tally.kills >= _OF_ONE
    assert tally.killed["daemon"]
    assert tally.killed["recovery"]
