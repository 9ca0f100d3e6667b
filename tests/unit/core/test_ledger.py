"""The ledger through random histories that hypothesis makes, and shrinks when one goes wrong."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from isod.core.plan import plan_reopen
from isod.model.address import Address
from isod.model.event import Ending, Granted, Reopen
from isod.model.host import HostSnapshot
from isod.model.lease import State
from isod.model.terms import Revoke

from .books import Shell
from .build import device, host, lease_for
from .invariants import check

HOST: HostSnapshot = host(
    device("01:00.0", 1, "e1000e"),
    device("01:00.1", 1),
    device("02:00.0", 2, "nvme"),
    device("03:00.0", 3, "vfio-pci"),
    device("03:00.1", 3),
    device("04:00.0", 4),
)
ADDRESSES = sorted(HOST.devices)


class Histories(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.shell = Shell(HOST)
        self.asked: Counter[str] = Counter()
        self.restarted = False

    @rule(
        target=leases,
        address=st.sampled_from(ADDRESSES),
        memlock=st.sampled_from([None, 16, 32]),
        then=st.sampled_from(["wait", "kill"]),
    )
    def acquire(self, address: Address, memlock: int | None, then: Literal["wait", "kill"]) -> str:
        lease = lease_for(
            HOST,
            f"L{len(self.asked) + 1}",
            [address],
            memlock,
            self.shell.limit,
            revoke=Revoke(10.0, then),
        )
        if any(self.shell.ledger.owner_of(group.number) for group in lease.groups):
            return "none"
        self.asked[lease.id] += 1
        self.shell.apply(Granted(lease))
        return lease.id

    @rule(
        choice=st.integers(0, 100),
        fail_at=st.one_of(st.none(), st.integers(0, 8)),
        unseen=st.booleans(),
    )
    def carry_out(self, choice: int, fail_at: int | None, unseen: bool) -> None:
        """The shell finishes one effect that waits, whichever."""
        if self.shell.todo:
            self.shell.carry_out(choice, fail_at, unseen=unseen)

    @rule(lease=leases)
    def release(self, lease: str) -> None:
        self.shell.apply(Ending(lease, "released"))

    @rule(lease=leases, at_once=st.booleans())
    def revoke(self, lease: str, at_once: bool) -> None:
        self.shell.revoke(lease, at_once=at_once)

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.shell.wait(seconds)

    @rule(lease=leases)
    def open_again(self, lease: str) -> None:
        held = self.shell.ledger.leases.get(lease)
        if held is not None and held.state is State.leased:
            self.asked[lease] += 1
            self.shell.apply(Reopen(lease, plan_reopen(held)))

    @rule(lease=consumes(leases))
    def client_closes(self, lease: str) -> None:
        self.shell.close(lease)

    @rule()
    def another_program_opens_the_group(self) -> None:
        """Possible as long as no client of ours has it, and nothing of it is on a kernel driver:
        whoever is root may."""
        if self.shell.ledger.owner_of(3) is None:
            self.shell.foreign.add(3)

    @rule()
    def the_other_program_closes_it(self) -> None:
        self.shell.foreign.discard(3)

    @rule()
    def restart(self) -> None:
        """Who waited is told by the connection that broke."""
        self.restarted = True
        self.shell.kill()

    @invariant()
    def all_that_must_hold(self) -> None:
        check(self.shell)

    @invariant()
    def nobody_is_answered_twice(self) -> None:
        assert all(count <= self.asked[name] for name, count in self.shell.answered.items())

    def teardown(self) -> None:
        self.shell.end_everything()
        assert self.restarted or self.shell.answered == self.asked


Histories.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestHistories = Histories.TestCase
