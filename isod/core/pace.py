"""How soon a new connection of a user is served: so many at once, and so many a second.

A connection costs isod as much as several requests, whether anything is asked on it or not. Whoever
comes again and again waits its turn, however it left, and keeps its place meanwhile; so it is soon
one too many, and turned away for less.
"""

from __future__ import annotations


class Pace:
    """Remembers, for each user, when all that came will have been served: the generic
    cell rate algorithm, as ITU-T I.371 has it."""

    def __init__(self) -> None:
        self._passed: dict[int, float] = {}

    def wait(self, uid: int, now: float, *, at_once: int, per_second: float) -> float:
        """One more connection comes: the seconds until it is served, 0 for at once."""
        self._forget(now)
        # Taken out and put in again: so the first ones are those who came longest ago.
        passed = max(self._passed.pop(uid, now), now) + 1 / per_second
        self._passed[uid] = passed
        return max(0.0, passed - now - at_once / per_second)

    def _forget(self, now: float) -> None:
        """Whoever has nothing left to wait for is as one who never came."""
        while self._passed:
            uid, passed = next(iter(self._passed.items()))
            if passed > now:
                return
            del self._passed[uid]
