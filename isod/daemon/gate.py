"""The one place that every request passes: peer and method in, answer out.

What only looks is answered at once. What changes something begins an operation and returns an
Outcome, which the session waits for.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from isod import __version__
from isod.core import view
from isod.core.consider import Considered, consider
from isod.core.explain import planned_steps
from isod.core.plan import Plan, plan_grant, plan_reopen
from isod.model import reply, request
from isod.model.address import Address, BadAddressError
from isod.model.event import Ending, Granted, Reopen
from isod.model.lease import Lease, Owner, State
from isod.model.method import METHODS, Method, openrpc
from isod.model.reason import Reason, RefusedError
from isod.model.request import LEASE_FDS, PACKET_BYTES, PROTOCOL
from isod.wire import jsonrpc

from .identify import Identity
from .outcome import Outcome
from .world import World

Item = TypeVar("Item")
_ENVELOPE = 512  # what stands around a result, with the longest id


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation that was begun: the answer comes with ``outcome``, in the lease's name."""

    lease: str
    outcome: Outcome
    secret: str | None
    warnings: tuple[str, ...] = ()


Answer = BaseModel | dict[str, Any] | Begun


class Gate:
    """Every method of the protocol, behind one door. ``outcomes`` is where the executor finds
    the requests that wait, by lease."""

    def __init__(
        self,
        world: World,
        outcomes: dict[str, Outcome],
        *,
        simulated: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._world = world
        self._outcomes = outcomes
        self._simulated = simulated
        self._clock = clock
        self._handlers: dict[str, Callable[[Identity, Any], Answer]] = {
            "hello": self._hello,
            "host.info": self._host_info,
            "host.devices": self._host_devices,
            "host.groups": self._host_groups,
            "lease.explain": self._explain,
            "lease.acquire": self._acquire,
            "lease.open": self._open,
            "lease.release": self._release,
            "lease.list": self._list,
            "lease.get": self._get,
            "rpc.discover": self._discover,
        }
        if self._handlers.keys() != METHODS.keys():
            raise ValueError("the method table and the gate differ")

    def call(self, who: Identity, method: Method, params: dict[str, object]) -> Answer:
        """Run one call. Raises RefusedError, and pydantic's ValidationError for bad params."""
        return self._handlers[method.name](who, method.params.model_validate(params))

    # --- looking --------------------------------------------------------------------------------

    def _hello(self, who: Identity, params: request.Hello) -> Answer:
        if params.protocol != PROTOCOL:
            raise RefusedError(
                Reason.unsupported,
                f"protocol {params.protocol} is not spoken here",
                hint=f"speak protocol {PROTOCOL}",
            )
        return reply.HelloResult(
            protocol=PROTOCOL,
            server=f"isod {__version__}",
            features=view.hand_overs(self._world.snapshot.features),
            you=reply.You(uid=who.peer.uid, unit=who.peer.unit),
            limits=reply.PacketLimits(packet=PACKET_BYTES, fds=LEASE_FDS),
        )

    def _host_info(self, who: Identity, params: request.NoParams) -> Answer:
        snapshot = self._world.snapshot
        features = snapshot.features
        return reply.HostInfo(
            kernel=features.kernel,
            simulated=self._simulated,
            features=reply.KernelFeatures(
                iommufd=features.iommufd,
                cdev=features.cdev,
                container=features.container,
                noiommu=features.noiommu,
            ),
            hand_overs=view.hand_overs(features),
            devices=len(snapshot.devices),
            groups=len(snapshot.groups),
            leases=len(self._world.ledger.leases),
            snapshot=snapshot.sequence,
            policy=self._world.policy.number,
        )

    def _host_devices(self, who: Identity, params: request.Page) -> Answer:
        snapshot, ledger = self._world.snapshot, self._world.ledger
        after = None if params.after is None else _cursor_address(params.after)
        return _fitting(
            *_page(sorted(snapshot.devices), after, params.limit),
            lambda found, following: reply.DevicePage(
                devices=tuple(
                    view.device_info(snapshot.devices[address], ledger, who.peer)
                    for address in found
                ),
                next=following,
                snapshot=snapshot.sequence,
            ),
        )

    def _host_groups(self, who: Identity, params: request.Page) -> Answer:
        snapshot, ledger = self._world.snapshot, self._world.ledger
        after = None if params.after is None else _cursor_number(params.after)
        return _fitting(
            *_page(sorted(snapshot.groups), after, params.limit),
            lambda found, following: reply.GroupPage(
                groups=tuple(
                    view.group_info(snapshot.groups[number], snapshot, ledger, who.peer)
                    for number in found
                ),
                next=following,
                snapshot=snapshot.sequence,
            ),
        )

    def _discover(self, who: Identity, params: request.NoParams) -> Answer:
        return openrpc(__version__)

    # --- leases ---------------------------------------------------------------------------------

    def _acquire(self, who: Identity, params: request.Acquire) -> Answer:
        if params.key is not None:
            held = self._world.ledger.find_key(who.peer.uid, params.key)
            if held is not None:
                return _again(held, params, who)
        considered, plan, owner, limit = self._consider(who, params)
        decision = considered.decision
        secret = secrets.token_urlsafe(24)
        lease = Lease(
            id=f"L{self._world.store.next_number()}",
            secret=secret,
            owner=owner,
            rule=decision.rule,
            hand_over=decision.hand_over,
            terms=decision.terms,
            devices=plan.devices,
            groups=plan.groups,
            plan=plan.steps,
            granted_at=self._clock(),
            key=params.key,
            former_limit=limit,
            warnings=plan.warnings,
        )
        outcome = self._outcomes[lease.id] = Outcome()
        self._world.apply(Granted(lease))
        return Begun(lease.id, outcome, secret)

    def _consider(
        self, who: Identity, params: request.Acquire
    ) -> tuple[Considered, Plan, Owner, tuple[int, int] | None]:
        """What acquire runs and explain shows, from the same facts."""
        world, peer = self._world, who.peer
        considered = consider(world.policy, world.snapshot, world.ledger, peer, params)
        decision = considered.decision
        owner = Owner(peer.uid, peer.pid, who.started, peer.unit, cgroup=peer.cgroup)
        limit = who.memlock() if decision.terms.memlock is not None else None
        plan = plan_grant(
            world.snapshot,
            params,
            considered.requested,
            considered.groups,
            decision,
            owner,
            limit,
        )
        return considered, plan, owner, limit

    def _explain(self, who: Identity, params: request.Acquire) -> Answer:
        """The decision and the plan; nothing is opened, changed or counted."""
        as_of = reply.AsOf(snapshot=self._world.snapshot.sequence, policy=self._world.policy.number)
        try:
            considered, plan, _, _ = self._consider(who, params)
        except RefusedError as error:
            refused = jsonrpc.refusal_object(error.refusal)
            return reply.ExplainResult(allowed=False, refusal=refused, as_of=as_of)
        decision = considered.decision
        return reply.ExplainResult(
            allowed=True,
            decision=reply.DecisionInfo(
                rule=decision.rule,
                file=decision.file,
                hand_over=decision.hand_over,
                memlock=decision.terms.memlock,
                scrub=decision.terms.scrub,
            ),
            plan=planned_steps(plan),
            devices=tuple(view.leased_device(device) for device in plan.devices),
            warnings=plan.warnings,
            as_of=as_of,
        )

    def _open(self, who: Identity, params: request.OwnLease) -> Answer:
        lease = self._own(who, params)
        if lease.state is not State.leased:
            raise RefusedError(Reason.in_use, f"lease {lease.id} is {lease.state.public}")
        outcome = self._outcomes[lease.id] = Outcome()
        self._world.apply(Reopen(lease.id, plan_reopen(lease)))
        return Begun(lease.id, outcome, None)

    def _release(self, who: Identity, params: request.OwnLease) -> Answer:
        lease = self._own(who, params)
        self._world.apply(Ending(lease.id, "released by its owner"))
        return reply.LeaseResult(lease=view.lease_info(self._world.ledger.leases[lease.id]))

    def _list(self, who: Identity, params: request.Page) -> Answer:
        mine = {
            int(lease.id[1:]): lease
            for lease in self._world.ledger.leases.values()
            if self._visible(who, lease)
        }
        after = None if params.after is None else _cursor_number(params.after)
        return _fitting(
            *_page(sorted(mine), after, params.limit),
            lambda found, following: reply.LeasePage(
                leases=tuple(view.lease_info(mine[number]) for number in found), next=following
            ),
        )

    def _get(self, who: Identity, params: request.LeaseName) -> Answer:
        lease = self._world.ledger.leases.get(params.lease)
        if lease is None or not self._visible(who, lease):
            raise RefusedError(Reason.not_found, f"you have no lease {params.lease}")
        return reply.LeaseResult(lease=view.lease_info(lease))

    def _visible(self, who: Identity, lease: Lease) -> bool:
        return who.peer.admin or lease.owner.uid == who.peer.uid

    def _own(self, who: Identity, params: request.OwnLease) -> Lease:
        """The lease, if the asker knows its secret: the uid alone proves nothing about which of a
        user's programs asks."""
        lease = self._world.ledger.leases.get(params.lease)
        if lease is None:
            raise RefusedError(Reason.not_found, f"there is no lease {params.lease}")
        if not hmac.compare_digest(lease.secret.encode(), params.secret.encode()):
            raise RefusedError(Reason.not_yours, f"that is not the secret of {params.lease}")
        return lease


def _again(lease: Lease, params: request.Acquire, who: Identity) -> Answer:
    """An acquire with the key of a lease that stands: the same lease answers, without fds.

    Its secret goes to whom it went before only: the same user in the same cgroup.
    """
    if {wanted.address for wanted in params.devices} != set(lease.requested):
        raise RefusedError(
            Reason.terms, f"the key {params.key!r} belongs to lease {lease.id}, of other devices"
        )
    secret = lease.secret if who.peer.cgroup == lease.owner.cgroup else None
    return reply.AcquireResult(lease=view.lease_info(lease, secret), warnings=lease.warnings)


def _page(items: Sequence[Item], after: Item | None, limit: int) -> tuple[Sequence[Item], bool]:
    """The page behind ``after``, and whether there is more. A cursor names the last item shown,
    so it stays good however the list changes."""
    rest = items if after is None else [item for item in items if item > after]  # type: ignore[operator]
    return rest[:limit], len(rest) > limit


def _fitting(
    found: Sequence[Item], more: bool, build: Callable[[Sequence[Item], str | None], BaseModel]
) -> BaseModel:
    """The page, shortened until it fits a packet: one device with many relatives may be long."""
    while True:
        page = build(found, str(found[-1]) if more else None)
        if len(found) <= 1 or len(page.model_dump_json()) < PACKET_BYTES - _ENVELOPE:
            return page
        found, more = found[: len(found) // 2], True


def _cursor_address(cursor: str) -> Address:
    try:
        return Address.parse(cursor)
    except BadAddressError as error:
        raise RefusedError(Reason.expired, "not a cursor of this list") from error


def _cursor_number(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit():
        raise RefusedError(Reason.expired, "not a cursor of this list")
    return int(cursor)
