"""What tests of events need: who subscribes, leases to tell of, and what came out."""

from __future__ import annotations

import json
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from isod.core.accounts import Accounts
from isod.daemon.identify import Identity
from isod.daemon.publisher import Publisher
from isod.daemon.subscription import Subscription
from isod.model.address import Address
from isod.model.lease import Lease, LeaseDevice, Owner, State
from isod.model.peer import Peer
from isod.model.policy import Limits
from isod.model.request import FAMILIES
from isod.model.step import GroupName
from isod.model.terms import Terms

ALICE, BOB = 1000, 1001
LATEST = 100


class Records:
    """A journal that keeps what was recorded, by kind."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.messages: list[str] = []

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        self.kinds.append(kind)
        self.messages.append(message)


def identity(uid: int = ALICE, *, admin: bool = False, book: Accounts | None = None) -> Identity:
    """A peer on a connection of its own, in a book of its own unless one is given."""
    peer = Peer(uid=uid, gid=uid, groups=frozenset(), pid=1, admin=admin)
    return Identity(peer, account=(book or Accounts(Limits)).open(uid, admin=admin))


def lease(
    name: str = "L1", uid: int = ALICE, *shorts: str, group: int = 1, state: State = State.leased
) -> Lease:
    """A lease of functions of one group, the first of them requested."""
    devices = tuple(
        LeaseDevice(Address.parse(short), 1, group, "sibling" if place else "requested")
        for place, short in enumerate(shorts or ("01:00.0",))
    )
    owner = Owner(uid, 4000, 77)
    groups = (GroupName(group, 9000 + group),)
    return Lease(name, "s", owner, "rule", "iommufd", Terms(), devices, groups, (), state)


def publisher() -> Publisher:
    return Publisher(Records(), LATEST, clock=lambda: 5.0)


def subscription(
    publisher: Publisher,
    who: Identity | None = None,
    *families: str,
    most: int = 100,
    since: int | None = None,
) -> Subscription:
    """A subscription as the gate begins it, by default Alice's to everything."""
    one = Subscription("S1", who or identity(), families or FAMILIES, most)
    one.begin(() if since is None else publisher.ring.since(since), publisher.ring.latest)
    publisher.subscriptions.append(one)
    return one


async def sent(subscription: Subscription) -> list[dict[str, Any]]:
    """What the subscriber is sent without anything more happening."""
    found: list[dict[str, Any]] = []

    async def take() -> None:
        while (packet := await subscription.next()) is not None:
            message = json.loads(packet)
            assert message["method"] == "event"
            found.append(message["params"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return found


async def kinds(subscription: Subscription) -> list[str]:
    return [event["kind"] for event in await sent(subscription)]
