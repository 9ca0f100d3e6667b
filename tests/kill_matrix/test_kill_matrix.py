"""A random tenth of ``make kill-matrix``, on the simulated host."""

from __future__ import annotations

import pytest

from tests.walk.borrowers import Borrowers

from .launcher import Launcher
from .run import Kill, run
from .sample import sample
from .walks import WALKS

pytestmark = pytest.mark.slow  # starts and ends many daemons

SHARE = 0.1


@pytest.mark.parametrize("walk", WALKS)
def test_killed_at_a_tenth_of_its_calls(
    walk: str, launcher: Launcher, borrowers: Borrowers
) -> None:
    whole = run(Kill(walk), launcher, borrowers)
    assert whole.violation is None, whole.violation
    assert whole.killed is None
    kills = 0
    for kill in sample(whole, SHARE):
        outcome = run(kill, launcher, borrowers)
        kills += outcome.killed is not None
        calls = f"{outcome.killed}; {outcome.killed_again}"
        assert outcome.violation is None, f"{kill}: {calls}\n{outcome.violation}"
    print(f"{walk}: {kills} kills, {whole.calls} calls and {whole.recovery_calls} of its recovery")
    # Threads take turns as they like: the last call may be missing from one run or the other.
    assert kills >= whole.calls * SHARE - 1
