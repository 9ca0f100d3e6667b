"""Requests on the books: judged as a grant and as ``explain`` are, granted, and held against what
the policy promises."""

from __future__ import annotations

from collections.abc import Iterator

from isod.core.explain import planned_steps
from isod.core.isolation import Isolation
from isod.core.judge import Bench, Judged, judge
from isod.core.newcomer import judge_newcomer
from isod.core.plan import Plan
from isod.core.reconcile import Newcomer
from isod.core.reset_set import ResetSets
from isod.model.event import Event, Granted, Stranger
from isod.model.host import HostSnapshot
from isod.model.lease import Lease, Owner
from isod.model.peer import Cgroup, Peer
from isod.model.reason import Refusal, RefusedError
from isod.model.request import Acquire
from isod.model.step import Bind, GrantNodes, OpenGroup, OpenIommufd

from .books import Record
from .promises import Promises, check_joined
from .shell import Shell

_CGROUP = Cgroup("/machine.slice/vm1.scope", 7)


def ask(shell: Shell, peer: Peer, request: Acquire, name: str) -> Lease | Refusal | None:
    """Judge a request and begin its lease. None: it was allowed and not begun, since the books
    know of no fight over what an administrator has taken."""
    picture = shell.picture()
    found = _judged(shell, picture, peer, request)
    if isinstance(found, Judged) or shell.steps % 8 == 0:  # a refusal is no less a judgement
        again = _judged(shell, shell.picture(), peer, request)
        assert found == again, "judged twice, and differently"
    if isinstance(found, Refusal):
        return found
    decision, plan = found.considered.decision, found.plan
    assert [*_explained(plan)] == [*_run(plan)], "explain shows other steps"
    lease = Lease(
        id=name,
        secret="secret",
        owner=_owner(peer),
        rule=decision.rule,
        hand_over=decision.hand_over,
        terms=decision.terms,
        devices=plan.devices,
        groups=plan.groups,
        plan=plan.steps,
        former_limit=found.limit,
        domain=found.domain,
        anchor=decision.anchor,
    )
    promises = Promises(shell.policy, picture, peer, lease)
    promises.check(request, shell.facts)
    members = {a for one in lease.groups for a in shell.host.groups[one.number].members}
    assert members.isdisjoint(shell.quarantine), "something in quarantine is given out"
    if not members.isdisjoint(shell.taken):
        return None
    shell.records[name] = Record(peer.uid, plan.steps, promises.counted())
    shell.apply(Granted(lease))
    return lease


def newcomer(shell: Shell, found: Newcomer, peer: Peer) -> Event:
    """A device that came into a group of a lease, judged as the shell judges it."""
    picture = shell.picture()
    lease, device = found.lease, found.device
    try:
        event = judge_newcomer(_bench(shell, picture), found)
    except RefusedError as error:
        return Stranger(lease.id, device.address, device.generation, error.refusal.message)
    check_joined(shell.policy, picture, peer, lease, event.device, shell.facts)
    return event


def _judged(shell: Shell, picture: HostSnapshot, peer: Peer, request: Acquire) -> Judged | Refusal:
    before = dict(shell.ledger.leases)
    limit = shell.limit_of(peer.pid)
    try:
        return judge(
            _bench(shell, picture),
            peer,
            request,
            _owner(peer),
            lambda: (limit, limit),
            lambda: _CGROUP,
        )
    except RefusedError as error:
        return error.refusal
    finally:
        assert shell.ledger.leases == before, "a judgement changed something"


def _bench(shell: Shell, picture: HostSnapshot) -> Bench:
    isolation = Isolation(picture, shell.policy)
    return Bench(shell.policy, ResetSets(picture), shell.ledger, shell.facts, isolation=isolation)


def _owner(peer: Peer) -> Owner:
    return Owner(
        uid=peer.uid,
        pid=peer.pid,
        started=77,
        cgroup=peer.cgroup,
        gid=peer.gid,
        groups=tuple(sorted(peer.groups)),
    )


def _explained(plan: Plan) -> Iterator[tuple[str, object]]:
    for step in planned_steps(plan):
        yield step.step, step.address


def _run(plan: Plan) -> Iterator[tuple[str, object]]:
    """A plan's steps in the words of ``explain``."""
    for step in plan.steps:
        word: str = step.step
        if isinstance(step, Bind) and step.sibling:
            word = "park"
        elif isinstance(step, OpenGroup | OpenIommufd):
            word = "open"
        elif isinstance(step, GrantNodes):
            word = "grant"
        elif step.step == "hot_reset":
            word = "reset"
        yield word, getattr(step, "address", None)
