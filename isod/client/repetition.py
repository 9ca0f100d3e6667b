"""What becomes of a call whose connection is lost, without I/O: whether it is asked again.

Calls that change nothing are, and those of which PROTOCOL.md says that asking twice does the same
as asking once: an acquire with a key, release and open, which name a lease that never comes back.
So is every call that certainly was not made: its packet was not sent, or isod was stopping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel

from isod.model.method import METHODS
from isod.model.reason import Reason
from isod.model.request import Acquire

from .conversation import Answer
from .errors import CallError, ConnectionLost, Refused
from .exchange import Question

# So many losses within a moment: it may be this very call that ends isod.
LOSSES = 5

_NAMES_A_LEASE = frozenset({"lease.release", "lease.open"})
_ADVICE = {
    "lease.acquire": "it ends by itself unless its anchor keeps it; with a key it is asked again"
}
_LOOK = "look before you ask again"


class Call:
    """One question until it is answered. ``question`` is what to ask now. Times are in seconds;
    ``moment`` is how long a client tries to get a connection again, 0 for one that does not."""

    def __init__(self, question: Question, moment: float, now: float) -> None:
        self.question = question
        self._first = question
        self._moment = moment
        self._begun = now
        self._losses: list[float] = []
        self._repeated = False

    def lost(self, error: ConnectionLost, now: float) -> None:
        """Go on with a new connection. Raises ConnectionLost if it must not be asked again."""
        self._losses = [one for one in self._losses if now - one < self._moment] + [now]
        if error.unknown and not _may_come_twice(self.question):
            method = self.question.method
            advice = _ADVICE.get(method, _LOOK)
            raise ConnectionLost(
                f"{error}; whether {method} took effect is not known: {advice}", unknown=True
            ) from error
        if len(self._losses) >= LOSSES:
            said = f"{error}; that came {len(self._losses)} times while {self.question.method}"
            raise ConnectionLost(f"{said} was asked", unknown=error.unknown) from error
        self._repeated = self._repeated or error.unknown
        self._renew(now)

    def refused(self, error: CallError) -> bool:
        """Whether isod was stopping: it has done nothing, and is to be asked when it is back."""
        error.repeated = self._repeated
        if not isinstance(error, Refused) or error.reason is not Reason.stopping:
            return False
        return self._moment > 0

    def later(self, now: float) -> None:
        """Ask again, as if for the first time."""
        self._renew(now)

    def answered(self, answer: Answer) -> Answer:
        return replace(answer, repeated=True) if self._repeated else answer

    def _renew(self, now: float) -> None:
        """A wait goes on for what is left of it."""
        params = self._first.params
        if isinstance(params, Acquire) and params.wait > 0:
            left = max(params.wait - (now - self._begun), 0.0)
            params = params.model_copy(update={"wait": left})
        self.question = Question(self._first.method, params)


def _may_come_twice(question: Question) -> bool:
    method = METHODS.get(question.method)
    if method is None:
        return False
    if question.method == "lease.acquire":
        return _key(question.params) is not None
    return not method.mutates or question.method in _NAMES_A_LEASE


def _key(params: BaseModel | Mapping[str, object]) -> object:
    return params.get("key") if isinstance(params, Mapping) else getattr(params, "key", None)
