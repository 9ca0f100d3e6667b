"""Who is connected to a socket: counted against ``[limits]``, and told why there is no room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from isod.model.policy import Limits
from isod.model.reason import Reason, Refusal

from .journal import Journal


class Connections:
    """The open connections of one socket, by uid. ``limits`` are those of the policy in force."""

    def __init__(self, limits: Callable[[], Limits], journal: Journal) -> None:
        self._limits = limits
        self._journal = journal
        self._of: Counter[int] = Counter()
        self._told: set[int] = set()

    def admit(self, uid: int) -> Refusal | None:
        """Count one more of this uid; why not, if it is one too many. The log is told once for each
        uid and time of scarcity, so that nobody can fill it by knocking."""
        limits = self._limits()
        if self._of[uid] >= limits.connections_per_uid:
            text = f"you have {self._of[uid]} connections, the most that one user may have"
            hint = "close one first"
        elif self._of.total() >= limits.connections:
            text = f"there are {self._of.total()} connections, the most that isod takes"
            hint = "try again when somebody has left"
        else:
            self._told.discard(uid)
            self._of[uid] += 1
            return None
        if uid not in self._told:
            self._told.add(uid)
            self._journal.record("connection.refused", f"uid {uid} is turned away: {text}", uid=uid)
        return Refusal(Reason.quota, text, {}, hint)

    def left(self, uid: int) -> None:
        """One that was admitted is closed."""
        self._of[uid] -= 1
        if not self._of[uid]:
            del self._of[uid]
            self._told.discard(uid)
