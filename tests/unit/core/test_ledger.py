"""The ledger through random histories that hypothesis makes, and shrinks when one goes wrong."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from isod.core.plan import plan_reopen
from isod.model.event import Ending, Reopen
from isod.model.host import HostSnapshot
from isod.model.lease import Lease, State
from isod.model.peer import Peer
from isod.model.policy import Who
from isod.model.terms import Quota, Revoke, What

from .asking import ask
from .build import ALICE, BOB, acquire, allow, deny, device, exactly, host, policy
from .invariants import check
from .shell import Shell

HOST: HostSnapshot = host(
    device("01:00.0", 1, "e1000e"),
    device("01:00.1", 1),
    device("02:00.0", 2, "nvme"),
    device("03:00.0", 3, "vfio-pci"),
    device("03:00.1", 3),
    device("04:00.0", 4),
)
SHORTS = sorted(address.short for address in HOST.devices)
POLICY = policy(
    deny(exactly("04:00.0"), who=[Who(uids=((BOB.uid, BOB.uid),))]),
    allow(exactly("02:00.0"), name="disk", scrub="require", revoke=Revoke(10.0, "kill")),
    allow(
        What(vendor="8086"),
        name="rest",
        memlock=32,
        take_from=("e1000e",),
        quota=Quota(devices=2, total=3),
        revoke=Revoke(10.0, "wait"),
    ),
)


class Histories(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.shell = Shell(HOST, policy=POLICY)
        self.asked: Counter[str] = Counter()
        self.restarted = False

    @rule(
        target=leases,
        peer=st.sampled_from([ALICE, BOB]),
        short=st.sampled_from(SHORTS),
        wishes=st.fixed_dictionaries(
            {},
            optional={
                "hand_over": st.sampled_from(["iommufd", "group", "nodes"]),
                "memlock": st.just(16),
            },
        ),
    )
    def acquire(self, peer: Peer, short: str, wishes: dict[str, object]) -> str:
        name = f"L{len(self.asked) + 1}"
        if not isinstance(ask(self.shell, peer, acquire(short, **wishes), name), Lease):
            return "none"
        self.asked[name] += 1
        return name

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

    @rule(lost=st.sets(st.integers(1, 9)))
    def restart(self, lost: set[int]) -> None:
        """Who waited is told by the connection that broke. Some holds close before isod is back."""
        self.restarted = True
        self.shell.kill({f"L{number}" for number in lost})

    @rule(lease=leases)
    def client_lets_go_of_all_but_the_hold(self, lease: str) -> None:
        self.shell.let_go(lease)

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
