"""Acquire and explain: from a request to a lease in preparation, or a place in the queue."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial

from isod.core import view
from isod.core.accounts import Resource
from isod.core.consider import Bench, consider_in, wants
from isod.core.explain import planned_steps
from isod.core.judge import Judged, guard, judge
from isod.core.kept import expected
from isod.core.queue import Queue, Wants
from isod.core.reset_answer import granted_reset
from isod.core.reset_set import ResetSets
from isod.model import reply
from isod.model.address import Address
from isod.model.event import Granted
from isod.model.lease import Lease
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.request import Acquire
from isod.wire import jsonrpc

from .identify import Identity
from .needs import Needs
from .outcome import Outcome
from .peers import Peers
from .resets import Resets
from .world import World


@dataclass(eq=False, slots=True)
class Begun:
    """An operation that was begun: the answer comes with ``outcome``. While it is queued it waits
    for groups, for at most ``wait`` seconds; ``busy`` is what it is told then."""

    outcome: Outcome
    wait: float | None = None
    busy: Refusal | None = None


@dataclass(eq=False, slots=True)
class _Ticket:
    who: Identity
    params: Acquire
    begun: Begun = field(default_factory=lambda: Begun(Outcome()))


class Grants:
    """The way to a lease. ``outcomes`` is where the executor finds who waits for which lease."""

    def __init__(
        self,
        world: World,
        outcomes: dict[str, Outcome],
        clock: Callable[[], float],
        resets: Resets,
        needs: Needs,
        peers: Peers,
    ) -> None:
        self._world = world
        self._peers = peers
        self._needs = needs
        self._resets = resets
        self._outcomes = outcomes
        self._clock = clock
        self._queue: Queue[_Ticket] = Queue(self._wants)
        self._tickets: dict[Begun, _Ticket] = {}
        self._serving = False
        world.on_free = self._look_and_serve
        world.on_change.append(self._look_again)
        world.on_policy.append(self._look_and_serve)

    def acquire(self, who: Identity, params: Acquire) -> reply.AcquireResult | Begun:
        """Begin a lease, or queue for it. Raises RefusedError."""
        if params.key is not None:
            held = self._world.ledger.find_key(who.peer.uid, params.key)
            if held is not None:
                return self._again(held, params, who)
        try:
            return self._begin(who, params, Begun(Outcome()))
        except RefusedError as error:
            if params.wait <= 0 or error.refusal.reason is not Reason.group_busy:
                raise
            return self._join(who, params, error.refusal)

    def explain(self, who: Identity, params: Acquire) -> reply.ExplainResult:
        """The decision and the plan; nothing is opened, changed or counted."""
        as_of = reply.AsOf(snapshot=self._world.snapshot.sequence, policy=self._world.policy.number)
        try:
            judged = self._judge(who, params)
        except RefusedError as error:
            refused = jsonrpc.refusal_object(error.refusal)
            return reply.ExplainResult(allowed=False, refusal=refused, as_of=as_of)
        decision, plan = judged.considered.decision, judged.plan
        return reply.ExplainResult(
            allowed=True,
            decision=reply.DecisionInfo(
                rule=decision.rule,
                file=decision.file,
                hand_over=decision.hand_over,
                memlock=decision.terms.memlock,
                scrub=decision.terms.scrub,
                anchor=decision.anchor,
            ),
            plan=planned_steps(plan),
            devices=tuple(view.leased_device(device) for device in plan.devices),
            reset=granted_reset(
                self._resets.sets, plan.devices, decision.hand_over, plan.steps, to_come=True
            ),
            warnings=plan.warnings,
            as_of=as_of,
        )

    def withdraw(self, begun: Begun) -> bool:
        """Give up waiting; False if the operation is not queued (any more)."""
        ticket = self._tickets.pop(begun, None)
        if ticket is None:
            return False
        self._queue.leave(ticket)
        ticket.who.account.discharge(Resource.waits)
        self._look_and_serve()  # who waited behind it may have waited for it alone
        return True

    def turn_away(self, refusal: Refusal) -> None:
        """End all waiting."""
        for begun, ticket in self._tickets.items():
            self._queue.leave(ticket)
            ticket.who.account.discharge(Resource.waits)
            begun.outcome.set(refusal)
        self._tickets.clear()

    # --- the grant ------------------------------------------------------------------------------

    def _judge(self, who: Identity, params: Acquire, kept: frozenset[int] | None = None) -> Judged:
        """What acquire runs and explain shows, from the same facts. ``kept``: it has queued, and
        these groups are for those before it; a newcomer comes after all that wait."""
        bench = self._bench(self._queue.wanted() if kept is None else kept)
        read_cgroup = partial(self._peers.cgroup_of, who)
        return judge(bench, who.peer, params, who.owner, who.memlock, read_cgroup)

    def _bench(self, kept: frozenset[int] = frozenset()) -> Bench:
        """The present moment; of devices that are being bound ahead or put back, the moment when
        that is done: the ledger lets the grant's operation wait for it."""
        world = self._world
        bench = replace(self._resets.bench(self._needs.facts), kept=kept)
        host = expected(world.snapshot, world.ledger.shelf)
        if host is world.snapshot:
            return bench
        return replace(bench, sets=ResetSets(host), isolation=None)

    def _begin(
        self, who: Identity, params: Acquire, begun: Begun, kept: frozenset[int] | None = None
    ) -> Begun:
        judged = self._judge(who, params, kept)
        decision, plan = judged.considered.decision, judged.plan
        lease = Lease(
            id=f"L{self._world.store.next_number()}",
            secret=secrets.token_urlsafe(24),
            owner=who.owner,
            rule=decision.rule,
            hand_over=decision.hand_over,
            terms=decision.terms,
            devices=plan.devices,
            groups=plan.groups,
            plan=plan.steps,
            granted_at=self._clock(),
            key=params.key,
            former_limit=judged.limit,
            domain=judged.domain,
            warnings=plan.warnings,
            anchor=decision.anchor,
            cgroup=judged.cgroup,
        )
        self._outcomes[lease.id] = begun.outcome
        self._peers.keep(lease, who)
        self._world.apply(Granted(lease))
        return begun

    def _again(self, lease: Lease, params: Acquire, who: Identity) -> reply.AcquireResult:
        """An acquire with the key of a lease that stands: the same lease answers, without fds.

        Its secret goes to whom it went before only: the same user in the same cgroup.
        """
        if not _asks_for(params, lease):
            raise RefusedError(
                Reason.terms,
                f"the key {params.key!r} belongs to lease {lease.id}, of other devices",
            )
        secret = lease.secret if who.peer.cgroup == lease.owner.cgroup else None
        return reply.AcquireResult(
            lease=view.lease_info(lease, secret),
            reset=self._resets.of_lease(lease),
            warnings=lease.warnings,
        )

    # --- the queue ------------------------------------------------------------------------------

    def _join(self, who: Identity, params: Acquire, busy: Refusal) -> Begun:
        """Queue behind the others. The policy is asked now, and again when it is their turn."""
        bench = self._bench()
        guard(bench, consider_in(bench, who.peer, params, if_free=True))
        who.account.charge(Resource.waits)
        ticket = _Ticket(who, params)
        ticket.begun.wait, ticket.begun.busy = params.wait, busy
        self._tickets[ticket.begun] = ticket
        self._queue.join(ticket)
        return ticket.begun

    def _wants(self, ticket: _Ticket, kept: frozenset[int]) -> Wants:
        return wants(self._bench(kept), ticket.who.peer, ticket.params)

    def _look_and_serve(self) -> None:
        """Something became free, or another policy joins fewer groups, or refuses who waits.
        Newcomers queue up meanwhile, so nobody overtakes."""
        if len(self._queue) and not self._serving:
            self._serving = True
            self._needs.look_then(self._serve_queue)

    def _look_again(self, changed: Collection[Address]) -> None:
        """The host has changed. A pool may have more members now; who waits for devices by
        address waits for their leases alone."""
        if any(ticket.params.pools for ticket in self._tickets.values()):
            self._look_and_serve()

    def _serve_queue(self) -> None:
        """Whose turn it is begins."""
        self._serving = False
        for ticket, kept in self._queue.ready():
            del self._tickets[ticket.begun]
            ticket.who.account.discharge(Resource.waits)
            try:
                self._begin(ticket.who, ticket.params, ticket.begun, kept)
            except RefusedError as error:
                ticket.begun.outcome.set(error.refusal)


def _asks_for(params: Acquire, lease: Lease) -> bool:
    """Whether a request is the one that got this lease: the same addresses, and as many out of
    the same pools."""
    addresses = {d.address for d in lease.devices if d.why == "requested" and d.pool is None}
    pools = Counter(device.pool for device in lease.devices if device.pool is not None)
    asked: Counter[str | None] = Counter()
    for wish in params.pools:
        asked[wish.pool] += wish.count
    return {wanted.address for wanted in params.named} == addresses and asked == pools
