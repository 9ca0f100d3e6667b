"""One request, judged from its words to the plan of its grant: what acquire runs, explain shows and
``isoctl policy test`` tries out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from isod.model.address import Address
from isod.model.lease import Owner
from isod.model.peer import Cgroup, Peer
from isod.model.request import Acquire

from .consider import Bench, Considered, check_free, check_queue, consider_in
from .decide import Decision
from .domain import Domains, check_domain
from .guard import check_guard
from .plan import Plan, plan_grant

__all__ = ["Bench", "Judged", "guard", "judge"]

Limit = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A request that may be granted now. ``limit`` is the owner's RLIMIT_MEMLOCK as it was;
    ``domain`` is all that shares the fate of the plan's devices; ``cgroup`` is the one that the
    lease will be anchored in, if it will."""

    considered: Considered
    plan: Plan
    limit: Limit
    domain: tuple[Address, ...]
    cgroup: Cgroup | None = None


def judge(
    bench: Bench,
    peer: Peer,
    request: Acquire,
    owner: Owner,
    read_limit: Callable[[], Limit],
    read_cgroup: Callable[[], Cgroup],
) -> Judged:
    """Policy first, then who else waits for the groups or has them, then what the host needs.

    ``read_limit`` tells the owner's memlock limit, asked for only if the rule raises it, and
    ``read_cgroup`` its cgroup, if the lease is anchored there. Raises RefusedError.
    """
    considered = consider_in(bench, peer, request)
    check_queue(bench, considered.groups)
    check_free(bench.ledger, peer, considered.groups)
    domains = Domains(bench.sets)
    check_domain(domains, bench.ledger, peer, considered.groups)
    warnings = guard(bench, considered)
    decision = considered.decision
    cgroup = read_cgroup() if decision.anchor == "cgroup" else None
    warnings += _cannot_end(peer, decision)
    limit = read_limit() if decision.terms.memlock is not None else None
    plan = plan_grant(
        bench.snapshot,
        request,
        considered.requested,
        considered.groups,
        decision,
        owner,
        limit,
        considered.pools,
    )
    plan = replace(plan, warnings=(*plan.warnings, *warnings))
    domain = domains.of(device.address for device in plan.devices)
    return Judged(considered, plan, limit, domain, cgroup)


def _cannot_end(peer: Peer, decision: Decision) -> tuple[str, ...]:
    """What the rule threatens and cannot be done is said in advance."""
    if decision.terms.revoke.then != "kill" or decision.anchor == "cgroup" or peer.verified:
        return ()
    return ("revoke cannot end you: this kernel cannot name the peer's process safely",)


def guard(bench: Bench, considered: Considered) -> tuple[str, ...]:
    """Raises RefusedError for what the host needs; whoever decides has looked just before."""
    return check_guard(
        bench.sets,
        bench.facts,
        considered.requested,
        considered.groups,
        considered.decision.terms,
        considered.decision.extras,
    )
