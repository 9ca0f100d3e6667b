"""The one place that every request passes: peer and method in, answer out.

What only looks is answered at once. What changes something begins an operation and returns an
Outcome, which the session waits for; a subscription comes with its answer.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from isod import __version__
from isod.core import view
from isod.core.accounts import Accounts
from isod.core.match import administers
from isod.core.plan import plan_reopen
from isod.core.quota import check_holds
from isod.model import reply, request
from isod.model.event import Ending, Reopen
from isod.model.lease import Lease, State
from isod.model.method import METHODS, Method, openrpc
from isod.model.peer import Peer
from isod.model.policy import Limits
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.request import LEASE_FDS, PACKET_BYTES, PROTOCOL

from .admin import Admin
from .audit import Audit
from .foreign import Foreign
from .grants import Begun, Grants
from .identify import Identity
from .listing import address_cursor, lease_page, number_cursor, page_of
from .needs import Needs
from .outcome import Outcome
from .peers import Peers
from .resets import Resets
from .subscribers import Opened, Subscribers
from .surveys import Surveys
from .under_way import UnderWay
from .world import World

Answer = BaseModel | dict[str, Any] | Begun | Opened

# What is decided by what the host needs.
_DECIDING = frozenset({"lease.acquire", "lease.explain"})
_LISTING = frozenset({"host.devices", "host.groups"})


class Gate:
    """Every method of the protocol, behind one door. ``outcomes`` is where the executor finds
    the requests that wait, by lease; ``holds`` says how many are open of one."""

    def __init__(
        self,
        world: World,
        outcomes: dict[str, Outcome],
        admin: Admin,
        needs: Needs,
        foreign: Foreign,
        surveys: Surveys,
        peers: Peers,
        *,
        holds: Callable[[str], int],
        simulated: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._world = world
        self._outcomes = outcomes
        self._holds = holds
        self._simulated = simulated
        self._roots = frozenset({0, os.geteuid()})
        self._stopping = False
        self.accounts = Accounts(lambda: world.policy.limits)
        self.unanswered = UnderWay()
        self.audit = Audit(world.journal, time.monotonic)
        self.resets = Resets(world)
        self.subscribers = Subscribers(world)
        self._needs = needs
        self._foreign = foreign
        self._surveys = surveys
        self._grants = Grants(world, outcomes, clock, self.resets, needs, peers)
        admin.on_policy = lambda: self.subscribers.dismiss(self._is_welcome)
        self._handlers: dict[str, Callable[[Identity, Any], Answer]] = {
            "hello": self._hello,
            "host.info": self._host_info,
            "host.devices": self._host_devices,
            "host.groups": self._host_groups,
            "host.isolation": self._host_isolation,
            "host.reset_set": self._host_reset_set,
            "lease.explain": self._grants.explain,
            "lease.acquire": self._grants.acquire,
            "lease.open": self._open,
            "lease.release": self._release,
            "lease.list": self._list,
            "lease.get": self._get,
            "events.subscribe": self.subscribers.subscribe,
            "events.unsubscribe": self.subscribers.unsubscribe,
            "rpc.discover": self._discover,
            "admin.leases": admin.leases,
            "admin.revoke": admin.revoke,
            "admin.reload": admin.reload,
            "quarantine.list": admin.quarantines,
            "quarantine.set": admin.set_quarantine,
            "quarantine.clear": admin.clear_quarantine,
        }
        if self._handlers.keys() != METHODS.keys():
            raise ValueError("the method table and the gate differ")

    @property
    def limits(self) -> Limits:
        """What a new connection may cost."""
        return self._world.policy.limits

    async def look(self, method: str) -> None:
        """Look at what must not be older than a request, right before it is called."""
        if method in _DECIDING:
            await self._needs.look()
        elif method in _LISTING:
            await self._needs.look_for_a_list()
            await self._foreign.look_for_a_list()
        if method == "host.isolation":
            await self._surveys.look()

    def call(self, who: Identity, method: Method, params: dict[str, object]) -> Answer:
        """Run one call. Raises RefusedError, and pydantic's ValidationError for bad params."""
        try:
            return self._call(who, method, params)
        except RefusedError as error:
            self.audit.refused(who, method, error.refusal)
            raise

    def _call(self, who: Identity, method: Method, params: dict[str, object]) -> Answer:
        if not self._is_welcome(who.peer):
            raise RefusedError(
                Reason.denied,
                "you are no administrator of isod",
                hint="[admin] in the policy says who is; ask on the other socket for what is yours",
            )
        if method.admin and not who.peer.admin:
            raise RefusedError(
                Reason.denied,
                f"{method.name} is not for this socket",
                hint="ask on the admin socket, as root or as one whom [admin] of the policy names",
            )
        if self._stopping and method.carries:
            raise RefusedError(Reason.stopping, "isod is stopping")
        asked = method.params.model_validate(params)
        if method.admin and method.mutates:
            self.audit.asked(who, method, asked)
        return self._handlers[method.name](who, asked)

    def stop(self) -> None:
        """Begin nothing any more; who waits in the queue is told. What is under way goes on."""
        self._stopping = True
        self._grants.turn_away(Refusal(Reason.stopping, "isod is stopping", {}))

    def _is_welcome(self, peer: Peer) -> bool:
        """Whether the policy in force lets the peer use the socket that it came by."""
        return not peer.admin or administers(self._world.policy, peer, self._roots)

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
        features, age = snapshot.features, self._needs.age
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
            needs=None
            if age is None
            else reply.NeedsRead(age=age, unread=self._needs.facts.unread),
            quarantine=self._world.ledger.unknown,
        )

    def _host_devices(self, who: Identity, params: request.Page) -> Answer:
        snapshot, ledger = self._world.snapshot, self._world.ledger
        looked = (self._needs.facts, self._foreign.held)
        return page_of(
            sorted(snapshot.devices),
            params,
            address_cursor,
            lambda found, following: reply.DevicePage(
                devices=tuple(
                    view.device_info(
                        snapshot.devices[address], ledger, who.peer, self.resets.sets, *looked
                    )
                    for address in found
                ),
                next=following,
                snapshot=snapshot.sequence,
            ),
        )

    def _host_groups(self, who: Identity, params: request.Page) -> Answer:
        snapshot, ledger = self._world.snapshot, self._world.ledger
        isolation, needs = self._world.isolation, self._needs.facts
        return page_of(
            sorted(snapshot.groups),
            params,
            number_cursor,
            lambda found, following: reply.GroupPage(
                groups=tuple(
                    view.group_info(snapshot.groups[number], isolation, ledger, who.peer, needs)
                    for number in found
                ),
                next=following,
                snapshot=snapshot.sequence,
            ),
        )

    def _host_isolation(self, who: Identity, params: request.OneDevice) -> Answer:
        return self._surveys.show(params)

    def _host_reset_set(self, who: Identity, params: request.OneDevice) -> Answer:
        return self.resets.show(params)

    def _discover(self, who: Identity, params: request.NoParams) -> Answer:
        return openrpc(__version__)

    # --- leases ---------------------------------------------------------------------------------

    def _open(self, who: Identity, params: request.OwnLease) -> Answer:
        lease = self._own(who, params)
        if lease.state is not State.leased:
            raise RefusedError(Reason.in_use, f"lease {lease.id} is {lease.state.public}")
        _check_stays(lease)
        check_holds(lease.id, self._holds(lease.id))
        outcome = self._outcomes[lease.id] = Outcome()
        self._world.apply(Reopen(lease.id, plan_reopen(lease)))
        return Begun(outcome)

    def withdraw(self, begun: Begun) -> bool:
        """Give up waiting for groups; False if the operation is under way."""
        return self._grants.withdraw(begun)

    def _release(self, who: Identity, params: request.OwnLease) -> Answer:
        lease = self._own(who, params)
        self._world.apply(Ending(lease.id, "released by its owner"))
        return reply.LeaseResult(lease=view.lease_info(self._world.ledger.leases[lease.id]))

    def _list(self, who: Identity, params: request.Page) -> Answer:
        leases = self._world.ledger.leases.values()
        return lease_page([lease for lease in leases if self._visible(who, lease)], params)

    def _get(self, who: Identity, params: request.LeaseName) -> Answer:
        lease = self._world.ledger.leases.get(params.lease)
        if lease is None or not self._visible(who, lease):
            raise RefusedError(Reason.not_found, f"you have no lease {params.lease}")
        return reply.LeaseResult(lease=view.lease_info(lease), reset=self.resets.of_lease(lease))

    def _visible(self, who: Identity, lease: Lease) -> bool:
        return view.may_see(who.peer, lease.owner.uid)

    def _own(self, who: Identity, params: request.OwnLease) -> Lease:
        """The lease, if the asker knows its secret: the uid alone proves nothing about which of a
        user's programs asks."""
        lease = self._world.ledger.leases.get(params.lease)
        if lease is None:
            raise RefusedError(Reason.not_found, f"there is no lease {params.lease}")
        if not hmac.compare_digest(lease.secret.encode(), params.secret.encode()):
            raise RefusedError(Reason.not_yours, f"that is not the secret of {params.lease}")
        return lease


def _check_stays(lease: Lease) -> None:
    """Nothing more is given of what is to be let go, nor of what is not isolated from another
    owner's. Raises RefusedError."""
    if lease.revocation is not None:
        raise RefusedError(
            Reason.terms,
            f"lease {lease.id} is being taken back: {lease.revocation.why}",
            hint="close what it has and release it, then ask for another lease",
            term="revoke",
        )
    if lease.conflict is not None:
        raise RefusedError(
            Reason.group_busy,
            f"lease {lease.id} shares its isolation group with another lease: {lease.conflict}",
            hint="go on with the fds that you have, or ask again when the other lease has ended",
        )
