"""A policy tried out: every case goes the daemon's own way from its words to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isod.core.judge import Bench, Judged, judge
from isod.core.ledger import Ledger
from isod.core.reset_set import ResetSets
from isod.model.address import Address, BadAddressError
from isod.model.critical import CriticalFacts
from isod.model.host import HostSnapshot
from isod.model.lease import Owner
from isod.model.peer import Cgroup, Peer
from isod.model.policy import Policy
from isod.model.reason import RefusedError
from isod.model.request import Acquire

from .cases import Case


@dataclass(frozen=True, slots=True)
class Verdict:
    """What isod would say. ``rules`` are those that decided, each once, in the order of the
    devices; of a refusal ``reason`` and ``message``. ``along``: devices that nobody asked for."""

    rules: tuple[str, ...] = ()
    hand_over: str | None = None
    along: tuple[Address, ...] = ()
    reason: str | None = None
    message: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        if self.reason is not None:
            return f"refused: {self.reason}"
        return f"allowed by {' and '.join(self.rules)}"


@dataclass(frozen=True, slots=True)
class Tried:
    """A case and what came of it. ``differences`` are empty if it came out as expected."""

    case: Case
    verdict: Verdict
    differences: tuple[str, ...]


class Trial:
    """A policy on a host on which nothing is leased."""

    def __init__(self, policy: Policy, snapshot: HostSnapshot, facts: CriticalFacts) -> None:
        self._bench = Bench(policy, ResetSets(snapshot), Ledger(), facts)

    def ask(self, peer: Peer, request: Acquire) -> Verdict:
        """What this peer would be told now."""
        try:
            judged = self.judge(peer, request)
        except RefusedError as error:
            refusal = error.refusal
            return Verdict(reason=refusal.reason.name, message=refusal.message)
        decision, plan = judged.considered.decision, judged.plan
        return Verdict(
            rules=tuple(dict.fromkeys(rule.name for rule in decision.rules)),
            hand_over=decision.hand_over,
            along=tuple(sorted(one.address for one in plan.devices if one.why != "requested")),
            warnings=plan.warnings,
        )

    def judge(self, peer: Peer, request: Acquire) -> Judged:
        """The whole judgement, with its plan. Raises RefusedError."""
        owner = Owner(peer.uid, peer.pid, 0, peer.unit, cgroup=peer.cgroup)
        cgroup = Cgroup(peer.cgroup or "/", 0)
        return judge(self._bench, peer, request, owner, lambda: (0, 0), lambda: cgroup)

    def run(self, cases: Sequence[Case]) -> tuple[Tried, ...]:
        """Try every case."""
        found = []
        for case in cases:
            verdict = self.ask(case.peer, case.request)
            found.append(Tried(case, verdict, tuple(_differences(case, verdict))))
        return tuple(found)


def _differences(case: Case, verdict: Verdict) -> list[str]:
    expected = case.expected
    if expected.refused is not None:
        return [] if verdict.reason == expected.refused else [f"expected {_words(case)}"]
    allowed = expected.allowed
    rules = (allowed,) if isinstance(allowed, str) else tuple(allowed or ())
    if verdict.rules != rules:
        return [f"expected {_words(case)}"]
    found = []
    if expected.hand_over not in (None, verdict.hand_over):
        found.append(f"expected hand-over {expected.hand_over}, not {verdict.hand_over}")
    if expected.along is not None:
        along = tuple(sorted(filter(None, map(_address, expected.along))))
        if along != verdict.along or len(along) != len(expected.along):
            got = ", ".join(address.short for address in verdict.along) or "nothing"
            found.append(f"expected {', '.join(expected.along) or 'nothing'} along, not {got}")
    return found


def _words(case: Case) -> str:
    expected = case.expected
    if expected.refused is not None:
        return f"refused: {expected.refused}"
    allowed = expected.allowed
    rules = [allowed] if isinstance(allowed, str) else allowed or []
    return f"allowed by {' and '.join(rules)}"


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except BadAddressError:
        return None
