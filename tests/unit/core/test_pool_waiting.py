"""Waiting for pools: all of it or nothing, in fair order; nobody starves, nobody is overtaken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from isod.core.consider import Bench, check_free, consider_in, wants
from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.core.queue import Groups, Queue, Wants
from isod.core.reset_set import ResetSets
from isod.model.critical import CriticalFacts
from isod.model.event import (
    Ending,
    Fenced,
    Granted,
    Idle,
    Prepared,
    Returned,
)
from isod.model.policy import Policy, Pool, Quirk
from isod.model.reason import Reason, RefusedError
from isod.model.request import Acquire
from isod.model.terms import What

from .build import ALICE, allow, device, host, lease_for

# Six members: two of one group, two with a neighbour that is no member, two alone; and one outside.
GPU: dict[str, Any] = {"vendor": "10de"}
HOST = host(
    device("01:00.0", 1, **GPU),
    device("01:00.1", 1, **GPU),
    device("02:00.0", 2, **GPU),
    device("02:00.1", 2),
    device("03:00.0", 3, **GPU),
    device("03:00.1", 3),
    device("04:00.0", 4, **GPU),
    device("05:00.0", 5, **GPU),
    device("06:00.0", 6),
)
POLICY = Policy((allow(name="all"),), 1, pools={"gpus": Pool("gpus", (What(vendor="10de"),))})
ADDRESSES = [str(address) for address in HOST.devices]


@dataclass(eq=False)
class Ticket:
    """A request with its place in the order of arrival."""

    number: int
    request: Acquire

    @property
    def count(self) -> int:
        return sum(wish.count for wish in self.request.pools)

    @property
    def named(self) -> frozenset[int]:
        found = (HOST.devices[one.address].group for one in self.request.named)
        return frozenset(group for group in found if group is not None)


@dataclass
class Counter:
    """Where one stands in line: a ledger whose leases come and go at once."""

    policy: Policy = POLICY
    ledger: Ledger = field(default_factory=Ledger)
    arrived: int = 0
    served: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue: Queue[Ticket] = Queue(self._wants)
        self.waiting: list[Ticket] = []

    def _bench(self, kept: Groups) -> Bench:
        return Bench(self.policy, ResetSets(HOST), self.ledger, CriticalFacts(), kept)

    def _wants(self, ticket: Ticket, kept: Groups) -> Wants:
        return wants(self._bench(kept), ALICE, ticket.request)

    def ask(self, devices: list[dict[str, Any]]) -> None:
        self.arrived += 1
        ticket = Ticket(self.arrived, Acquire.model_validate({"devices": devices}))
        try:
            self.grant(ticket, self.queue.wanted())
        except RefusedError as error:
            if error.refusal.reason is Reason.group_busy:
                self.queue.join(ticket)
                self.waiting.append(ticket)

    def grant(self, ticket: Ticket, kept: Groups) -> None:
        found = consider_in(self._bench(kept), ALICE, ticket.request)
        groups = frozenset(group.number for group in found.groups)
        if groups & kept:
            raise RefusedError(Reason.group_busy, "others wait")
        check_free(self.ledger, ALICE, found.groups)
        addresses = [one.address for one in found.requested]
        assert len(set(addresses)) == len(addresses) == ticket.count + len(ticket.request.named)
        earlier = [one for one in self.waiting if one.number < ticket.number]
        needed = sum(one.count for one in earlier)
        before = self.free()
        self.ledger.apply(Granted(lease_for(HOST, f"L{ticket.number}", addresses, None, 8)))
        for one in earlier:
            assert one.named.isdisjoint(groups), f"{ticket} overtakes {one}"
        assert min(needed, before) == min(needed, self.free()), f"{ticket} overtakes {earlier}"
        self.served.append(ticket.number)

    def free(self) -> int:
        """How many members could be had."""
        return sum(
            one.vendor == "10de" and one.group is not None and not self.ledger.owner_of(one.group)
            for one in HOST.devices.values()
        )

    def end(self, which: int) -> None:
        names = sorted(self.ledger.leases)
        if not names:
            return
        name = names[which % len(names)]
        lease = self.ledger.leases[name]
        for event in (
            Prepared(name, (), lease.devices),
            Ending(name, "done"),
            Idle(name),
            Fenced(name),
            Returned(name),
        ):
            self.ledger.apply(event)
        for ticket, kept in self.queue.ready():
            self.waiting.remove(ticket)
            self.grant(ticket, kept)
        self.check_nobody_waits_for_nothing()

    def check_nobody_waits_for_nothing(self) -> None:
        if self.waiting:
            first = self.waiting[0]
            groups = Isolation(HOST, self.policy).groups_of(
                one.address for one in first.request.named
            )
            taken = any(self.ledger.owner_of(group.number) for group in groups)
            assert taken or self.free() < first.count + len(first.named), f"{first} could go"


ITEM = st.one_of(
    st.builds(lambda count: {"pool": "gpus", "count": count}, st.integers(1, 4)),
    st.builds(lambda address: {"address": address}, st.sampled_from(ADDRESSES)),
)
ASK = st.lists(ITEM, min_size=1, max_size=2)
ACT = st.one_of(ASK, st.integers(0, 9))


@given(st.lists(ACT, max_size=25))
def test_nobody_is_overtaken_and_nobody_starves(acts: list[Any]) -> None:
    counter = Counter()
    for act in acts:
        if isinstance(act, int):
            counter.end(act)
        else:
            counter.ask(act)
    for _ in range(counter.arrived):
        counter.end(0)
    assert not counter.waiting
    assert len(counter.queue) == 0


def test_what_becomes_free_is_kept_together_for_who_wants_several() -> None:
    counter = Counter()
    counter.ask([{"pool": "gpus", "count": 6}])
    counter.ask([{"pool": "gpus", "count": 3}])
    counter.ask([{"pool": "gpus"}])
    counter.ask([{"address": "03:00.0"}])
    assert counter.served == [1]
    counter.end(0)
    assert counter.served == [1, 2, 3, 4]


def test_who_waits_for_something_else_keeps_no_more_of_the_pool_than_it_needs() -> None:
    counter = Counter()
    counter.ask([{"address": "06:00.0"}])
    counter.ask([{"pool": "gpus"}, {"address": "06:00.0"}])
    counter.ask([{"pool": "gpus", "count": 4}])
    counter.ask([{"pool": "gpus", "count": 2}])
    assert counter.served == [1, 3]
    counter.end(0)
    assert counter.served == [1, 3, 2]
    counter.end(0)
    counter.end(0)
    assert counter.served == [1, 3, 2, 4]


def test_groups_that_a_new_policy_joins_are_waited_for_together() -> None:
    counter = Counter()
    for address in ("04:00.0", "05:00.0", "04:00.0"):
        counter.ask([{"address": address}])
    joined = Quirk("joined", (What(address="pci:0000:04:*"), What(address="pci:0000:05:*")))
    counter.policy = replace(POLICY, quirks=(joined,))
    assert counter.queue.wanted() == {4, 5}
    counter.end(0)
    assert counter.served == [1, 2]


def test_what_can_never_be_had_is_not_waited_for() -> None:
    counter = Counter()
    counter.ask([{"pool": "gpus", "count": 3}])
    counter.ask([{"pool": "gpus", "count": 4}, {"pool": "gpus", "count": 4}])
    assert not counter.waiting
