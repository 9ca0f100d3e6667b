"""Refusals on record: who was told no, to what, and why.

What was granted is recorded where it happens. A refusal costs its asker nothing, so a flood of them
must not fill the log: of each user so many in a while, and then how many there were besides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isod.model.method import Method
from isod.model.reason import Refusal

from .identify import Identity
from .journal import Journal

RECORDS = 20
SECONDS = 60.0
_USERS = 1024


@dataclass(slots=True)
class _Recorded:
    """One user's refusals since ``began``."""

    began: float
    count: int = 0


class Audit:
    """Records refusals of what would have changed something; ``clock`` is in seconds and never
    goes back."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        self._of: dict[int, _Recorded] = {}

    def refused(self, who: Identity, method: Method, refusal: Refusal) -> None:
        """Take down one refusal. Only what mutates is of interest: looking is everybody's."""
        if not method.mutates:
            return
        peer = who.peer
        if not self._has_room(peer.uid):
            return
        details = refusal.details
        devices = details.get("devices")
        fields: dict[str, str | int] = {
            "reason": refusal.reason.name,
            "method": method.name,
            "uid": peer.uid,
            "pid": peer.pid,
            "unit": peer.unit or "",
            "cgroup": peer.cgroup or "",
            "rule": str(details.get("rule") or ""),
            "devices": " ".join(map(str, devices)) if isinstance(devices, (list, tuple)) else "",
        }
        self._journal.record(
            "lease.refused",
            f"{method.name} of uid {peer.uid} refused: {refusal.message}",
            **{name: value for name, value in fields.items() if value != ""},
        )

    def disconnected(self, who: Identity, refusal: Refusal) -> None:
        """Take down that a connection was ended, which its peer may have caused often."""
        if self._has_room(who.peer.uid):
            text = f"uid {who.peer.uid} is disconnected: {refusal.message}"
            self._journal.record("connection.refused", text, uid=who.peer.uid, pid=who.peer.pid)

    def _has_room(self, uid: int) -> bool:
        now = self._clock()
        recorded = self._of.get(uid)
        if recorded is None or now - recorded.began >= SECONDS:
            if recorded is not None:
                self._say_how_many(uid, recorded)
            self._forget_old(now)
            recorded = self._of[uid] = _Recorded(now)
        recorded.count += 1
        return recorded.count <= RECORDS

    def _say_how_many(self, uid: int, recorded: _Recorded) -> None:
        more = recorded.count - RECORDS
        if more > 0:
            text = f"{more} more refusals of uid {uid} were not recorded"
            self._journal.record("lease.refused", text, uid=uid, reason="quota")

    def _forget_old(self, now: float) -> None:
        """Users come and go; a record for each that ever came would grow without end."""
        if len(self._of) < _USERS:
            return
        for uid, recorded in list(self._of.items()):
            if now - recorded.began >= SECONDS:
                self._say_how_many(uid, recorded)
                del self._of[uid]
