"""A random part of one walk's matrix, judged and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from tests.walk.borrowers import Borrowers

from .launcher import Launcher
from .run import Kill, Outcome, run
from .sample import Wanted, killed
from .tally import Tally

# The name of the property that a test reports its tally as.
TALLY = "kill matrix"


class Part:
    """What a test needs for it. ``record`` is pytest's ``record_property``."""

    def __init__(
        self, launcher: Launcher, borrowers: Borrowers, record: Callable[[str, object], None]
    ) -> None:
        self._launcher = launcher
        self._borrowers = borrowers
        self._record = record

    def kill(
        self, walk: str, wanted_of: Callable[[Outcome], Wanted], *, once_more: bool = True
    ) -> Tally:
        """Walk once without a kill, then with as many as are wanted. Raises AssertionError at the
        first violation, and where a kind of kill does not come about as often as it is wanted."""
        whole = run(Kill(walk), self._launcher, self._borrowers)
        assert whole.violation is None, whole.violation
        assert whole.killed is None
        tally, wanted = Tally(walk, whole.calls), wanted_of(whole)

        def attempt(kill: Kill) -> Outcome:
            return run(kill, self._launcher, self._borrowers, once_more=once_more)

        try:
            for outcome in killed(whole, wanted, attempt):
                tally.add(outcome)
                where = f"{outcome.killed}; {outcome.killed_again}"
                print(f"{outcome.kill}: {where}, {outcome.seconds:.1f} s")
                assert outcome.violation is None, f"{outcome.kill}: {where}\n{outcome.violation}"
        finally:
            self._record(TALLY, asdict(tally))
        for kind, number in wanted.items():
            assert tally.killed[kind] == number, f"{number} of {kind} were wanted: {tally}"
        return tally
