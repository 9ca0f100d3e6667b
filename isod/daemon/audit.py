"""On record: who was told no, to what, and why; and which administrator asked for what.

What was granted is recorded where it happens. A refusal costs its asker nothing, so a flood of them
must not fill the log: of each user so many in a while, and then how many there were besides. What
an administrator changes is on record each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isod.model.method import Method
from isod.model.reason import Reason, Refusal
from isod.model.request import Params

from .identify import Identity
from .journal import Journal

RECORDS = 20
SECONDS = 60.0
_USERS = 1024
_ROOT = 0


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
        """Take down one refusal. Only what mutates is of interest, since looking is everybody's;
        but for what is an administrator's, which somebody else tried."""
        peer = who.peer
        tried = refusal.reason is Reason.denied and (method.admin or peer.admin)
        if not (method.mutates or tried):
            return
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

    def asked(self, who: Identity, method: Method, params: Params) -> None:
        """Take down, right before it is done, what an administrator asks for that changes
        something. What then comes of it has records of its own."""
        peer = who.peer
        said = params.model_dump(mode="json", exclude_defaults=True)
        words = [f"{name} {value}" for name, value in said.items()]
        fields: dict[str, str | int] = {
            "method": method.name,
            "admin_uid": peer.uid,
            "admin_pid": peer.pid,
            "unit": peer.unit or "",
            "cgroup": peer.cgroup or "",
            "lease": said.get("lease", ""),
            "devices": said.get("address", ""),
        }
        where = f", {peer.unit}" if peer.unit else ""
        what = f": {', '.join(words)}" if words else ""
        self._journal.record(
            "admin.asked",
            f"{method.name} by uid {peer.uid} (pid {peer.pid}{where}){what}",
            **{name: value for name, value in fields.items() if value != ""},
        )

    def signalled(self, method: Method) -> None:
        """Take down what a signal asked for. The kernel lets root send it, and does not tell which
        process did."""
        text = f"{method.name} by a signal"
        self._journal.record("admin.asked", text, method=method.name, admin_uid=_ROOT, by="signal")

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
