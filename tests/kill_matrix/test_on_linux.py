"""Random kills on a real kernel: ISOD_KILLS over all walks, 100 in make kill-matrix."""

from __future__ import annotations

import os

import pytest

from tests.walk.borrowers import Borrowers

from .launcher import Launcher
from .run import Kill, run
from .sample import sample
from .walks import WALKS

KILLS = int(os.environ.get("ISOD_KILLS") or 24)

pytestmark = pytest.mark.lab(
    kernels=("7.2",), topology="standard", own="kills", limit=300 + 20 * KILLS
)


@pytest.mark.parametrize("walk", WALKS)
def test_killed_here_and_there(walk: str, launcher: Launcher, borrowers: Borrowers) -> None:
    whole = run(Kill(walk), launcher, borrowers)
    assert whole.violation is None, whole.violation
    calls = whole.calls + 2 * whole.helper_calls + whole.recovery_calls
    kills = 0
    for kill in sample(whole, KILLS / len(WALKS) / calls):
        outcome = run(kill, launcher, borrowers, once_more=False)
        kills += outcome.killed is not None
        where = f"{outcome.killed}; {outcome.killed_again}"
        print(f"{kill}: {where}, {outcome.seconds:.1f} s")
        assert outcome.violation is None, f"{kill}: {where}\n{outcome.violation}"
    print(
        f"{walk}: {kills} kills; {whole.calls} calls, {whole.helper_calls} of them of helpers, "
        f"{whole.recovery_calls} of its recovery"
    )
    assert kills
