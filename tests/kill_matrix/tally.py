"""What a random part of the matrix came to, for the end of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .run import Outcome
from .sample import Kind, hit, kind_of

_KINDS: tuple[Kind, ...] = ("daemon", "helper", "both", "recovery")
# A walk's calls and the last n that was reached; kills of each kind, the last n of a recovery.
_COLUMNS = ("calls", "n reached", *_KINDS, "its n", "missed", "violations")


@dataclass
class Tally:
    """One walk's. ``calls`` are those of the walk without a kill, ``reached`` is the last one that
    the daemon was killed at; ``recovery_reached`` the last one of a recovery."""

    walk: str
    calls: int
    killed: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    missed: int = 0
    reached: int = 0
    recovery_reached: int = 0
    violations: int = 0

    @property
    def kills(self) -> int:
        return sum(self.killed.values())

    def add(self, outcome: Outcome) -> None:
        kill = outcome.kill
        self.violations += outcome.violation is not None
        if not hit(outcome):
            self.missed += 1
            return
        self.killed[kind_of(kill)] += 1
        if kill.again_at:
            self.recovery_reached = max(self.recovery_reached, kill.again_at)
        elif kill.victim == "daemon":
            self.reached = max(self.reached, kill.at)


def tell(tallies: Iterable[Mapping[str, Any]]) -> list[str]:
    """The lines of a table of tallies, as their tests have reported them."""
    listed = [Tally(**told) for told in tallies]
    width = max([len(tally.walk) for tally in listed], default=0)
    lines = ["  ".join((f"{'walk':<{width}}", *_COLUMNS))]
    for tally in listed:
        numbers = (
            *(tally.calls, tally.reached),
            *(tally.killed[kind] for kind in _KINDS),
            *(tally.recovery_reached, tally.missed, tally.violations),
        )
        pairs = zip(numbers, _COLUMNS, strict=True)
        lines.append(
            "  ".join((f"{tally.walk:<{width}}", *(f"{n:>{len(name)}}" for n, name in pairs)))
        )
    kills = sum(tally.kills for tally in listed)
    lines.append(f"{kills} kills, {sum(tally.violations for tally in listed)} violations")
    return lines
