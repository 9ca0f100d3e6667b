"""When a lost connection is made again, without I/O: how long between tries, and when to give up.

A connection that is lost right after it was made belongs to the tries before: a daemon that ends
each time it is asked is not asked for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import ConnectionLost

SECONDS = 30.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
STEADY_SECONDS = 1.0

OnLost = Callable[[ConnectionLost], object]


@dataclass(frozen=True, slots=True)
class Way:
    """Where to connect again, as whom, and for how many seconds to try (0: not at all).
    ``on_lost`` is told of each loss before the first try."""

    path: Path
    name: str
    seconds: float
    on_lost: OnLost | None = None


class Reconnection:
    """The tries of one client. Times are in seconds, of any clock that goes steadily."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0
        self._pause = 0.0
        self._made: float | None = None
        self._failed: tuple[float, str] | None = None

    def begin(self, now: float, asked: float) -> None:
        """The connection is lost. ``asked`` is when the caller began to wait for a new one: it
        raises ConnectionLost if others have tried in vain since then."""
        if self._failed is not None and self._failed[0] >= asked:
            raise ConnectionLost(self._failed[1])
        at_once = self._made is not None and now - self._made < STEADY_SECONDS
        if not at_once:
            self._until = now + self._seconds
            self._pause = 0.0
        self._made = None

    def left(self, now: float) -> float:
        """For how long one try may take."""
        return max(self._until - now, FIRST_PAUSE)

    def pause(self, now: float, why: ConnectionLost) -> float:
        """How long to wait before the next try. Raises ConnectionLost when it was long enough."""
        if now >= self._until:
            said = f"{why}; isod did not come back within {self._seconds:g} seconds"
            self._failed = (now, said)
            raise ConnectionLost(said)
        pause = min(self._pause, self._until - now)
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        return pause

    def made(self, now: float) -> None:
        """There is a connection again."""
        self._made = now
