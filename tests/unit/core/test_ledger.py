"""The ledger, driven through random histories by a shell that does what the effects say.

The model shell keeps its own books of what is bound and who holds which fds, and the invariants of
the design are checked against those books, never against the ledger's own answers alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from isod.core.decide import Decision
from isod.core.isolation import groups_of
from isod.core.ledger import Ledger
from isod.core.plan import plan_grant, plan_reopen
from isod.model.address import Address
from isod.model.event import (
    Announce,
    Deliver,
    Discard,
    Drain,
    Effect,
    Ending,
    Event,
    Fenced,
    Forget,
    GiveBack,
    Granted,
    Idle,
    InUse,
    Prepare,
    Prepared,
    PrepareFailed,
    Quarantine,
    Recovered,
    Refuse,
    Remember,
    Reopen,
    Returned,
    RunFences,
)
from isod.model.host import HostSnapshot
from isod.model.lease import Lease, State
from isod.model.reason import Reason, Refusal
from isod.model.step import Bind, Fence, Limit, OpenFile, Restore, Step, Unbind
from isod.model.terms import Terms

from .build import OWNER, acquire, allow, device, host

HOST: HostSnapshot = host(
    device("01:00.0", 1, "e1000e"),
    device("01:00.1", 1),
    device("02:00.0", 2, "nvme"),
    device("03:00.0", 3, "vfio-pci"),
    device("04:00.0", 4),
)
ADDRESSES = sorted(HOST.devices)
VISITS: Counter[tuple[str, str]] = Counter()


@dataclass
class Shell:
    """Carries effects out on books of its own, one at a time, when the test says so."""

    ledger: Ledger = field(default_factory=Ledger)
    store: dict[str, Lease] = field(default_factory=dict)
    todo: list[Effect] = field(default_factory=list)
    drivers: dict[Address, str | None] = field(
        default_factory=lambda: {a: d.driver for a, d in HOST.devices.items()}
    )
    holders: dict[str, frozenset[Address]] = field(default_factory=dict)
    ours: dict[str, frozenset[Address]] = field(default_factory=dict)
    limit: int = 8
    answered: Counter[str] = field(default_factory=Counter)

    def apply(self, event: Event) -> None:
        lease = getattr(event, "lease", None)
        state = "-"
        if isinstance(lease, str) and lease in self.ledger.leases:
            state = self.ledger.leases[lease].state.value
        VISITS[state, type(event).__name__] += 1
        for effect in self.ledger.apply(event):
            match effect:
                case Remember(lease=row):
                    self.store[row.id] = row
                case Forget(lease=row):
                    del self.store[row.id]
                case Refuse(lease=row):
                    self.answered[row.id] += 1
                case Discard():
                    self.ours.pop(str(lease), None)
                case Announce() | Quarantine():
                    pass
                case Drain():
                    for step in effect.steps:
                        if isinstance(step, Limit):  # in place, as the executor does
                            self.step(step)
                    self.todo.append(effect)
                case _:
                    self.todo.append(effect)

    def step(self, step: Step) -> None:
        match step:
            case Unbind():
                self.drivers[step.address] = None
            case Bind():
                self.drivers[step.address] = step.driver
            case Fence():
                assert not self.is_held(step.address), "a fence returned on an open device"
                if self.drivers[step.address] == "vfio-pci":
                    self.drivers[step.address] = None
            case Restore():
                self.drivers[step.address] = step.driver
            case Limit():
                self.limit = max(self.limit, step.soft) if step.raise_only else step.soft
            case _:
                pass

    def is_held(self, address: Address) -> bool:
        """Open somewhere: with a client, or with us and on its way out."""
        books = (*self.holders.values(), *self.ours.values())
        return any(address in held for held in books)


FAILED = Refusal(Reason.kernel, "injected", {"step": "bind"})


class Histories(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.shell = Shell()
        self.count = 0
        self.asked: Counter[str] = Counter()
        self.restarted = False

    @rule(
        target=leases,
        address=st.sampled_from(ADDRESSES),
        memlock=st.sampled_from([None, 16, 32]),
    )
    def acquire(self, address: Address, memlock: int | None) -> str:
        groups = groups_of(HOST, [address])
        if any(self.shell.ledger.owner_of(group.number) for group in groups):
            return "none"
        terms = Terms(memlock=memlock)
        plan = plan_grant(
            HOST,
            acquire(str(address)),
            [HOST.devices[address]],
            groups,
            Decision((allow(name="rule"),), terms, "iommufd"),
            OWNER,
            None if memlock is None else (self.shell.limit, self.shell.limit),
        )
        self.count += 1
        lease = Lease(
            f"L{self.count}",
            "secret",
            OWNER,
            "rule",
            "iommufd",
            terms,
            plan.devices,
            plan.groups,
            plan.steps,
            former_limit=None if memlock is None else (self.shell.limit, self.shell.limit),
        )
        self.asked[lease.id] += 1
        self.shell.apply(Granted(lease))
        return lease.id

    @rule(choice=st.integers(0, 100), fail_at=st.one_of(st.none(), st.integers(0, 8)))
    def carry_out(self, choice: int, fail_at: int | None) -> None:
        """The shell finishes one effect that waits, whichever."""
        if not self.shell.todo:
            return
        effect = self.shell.todo.pop(choice % len(self.shell.todo))
        match effect:
            case Prepare():
                self._prepare(effect, fail_at)
            case Deliver():
                self.shell.answered[effect.lease.id] += 1
                self.shell.ours.pop(effect.lease.id, None)
                self.shell.holders[effect.lease.id] = frozenset(effect.lease.requested)
                if fail_at is not None:
                    del self.shell.holders[effect.lease.id]
                    self.shell.apply(Ending(effect.lease.id, "not delivered"))
            case Drain():
                busy = [d.address for d in effect.devices if self.shell.is_held(d.address)]
                if busy:
                    self.shell.apply(InUse(effect.lease.id, tuple(busy)))
                    self.shell.todo.append(Drain(effect.lease, (), effect.devices))
                else:
                    self.shell.apply(Idle(effect.lease.id))
            case RunFences():
                fences = [step for step in effect.steps if isinstance(step, Fence)]
                if any(self.shell.is_held(fence.address) for fence in fences):
                    self.shell.todo.append(effect)  # as the kernel does: it waits
                    return
                for fence in fences:
                    self.shell.step(fence)
                self.shell.apply(Fenced(effect.lease.id))
            case GiveBack():
                for step in effect.steps:
                    self.shell.step(step)
                self.shell.apply(Returned(effect.lease.id))
            case _:
                raise AssertionError(effect)

    def _prepare(self, effect: Prepare, fail_at: int | None) -> None:
        for place, step in enumerate(effect.steps):
            if isinstance(step, Fence) and self.shell.is_held(step.address):
                self.shell.apply(PrepareFailed(effect.lease.id, place + 1, FAILED))
                return
            if place == fail_at:
                self.shell.apply(PrepareFailed(effect.lease.id, place + 1, FAILED))
                return
            self.shell.step(step)
        self.shell.ours[effect.lease.id] = frozenset(effect.lease.requested)
        self.shell.apply(
            Prepared(effect.lease.id, (OpenFile("iommufd", -1),), effect.lease.devices)
        )

    @rule(lease=leases)
    def release(self, lease: str) -> None:
        self.shell.apply(Ending(lease, "released"))

    @rule(lease=leases)
    def open_again(self, lease: str) -> None:
        held = self.shell.ledger.leases.get(lease)
        if held is not None and held.state is State.leased:
            self.asked[lease] += 1
            self.shell.apply(Reopen(lease, plan_reopen(held)))

    @rule(lease=consumes(leases))
    def client_closes(self, lease: str) -> None:
        self.shell.holders.pop(lease, None)
        self.shell.apply(Ending(lease, "its hold was closed"))

    @rule()
    def restart(self) -> None:
        """The daemon is killed and comes back with the store's rows; who waited is told by the
        connection that broke."""
        self.restarted = True
        rows = dict(self.shell.store)
        self.shell.todo.clear()
        self.shell.ours.clear()
        self.shell.ledger = Ledger()
        for row in rows.values():
            self.shell.apply(Recovered(row, held=False))

    @invariant()
    def one_owner_per_group(self) -> None:
        owners: Counter[int] = Counter()
        for lease in self.shell.ledger.leases.values():
            owners.update(group.number for group in lease.groups)
        assert all(count == 1 for count in owners.values())

    @invariant()
    def what_a_client_holds_is_never_free(self) -> None:
        for name, held in (*self.shell.holders.items(), *self.shell.ours.items()):
            for address in held:
                group = HOST.devices[address].group
                assert group is not None
                owner = self.shell.ledger.owner_of(group)
                assert owner is not None and owner.id == name

    @invariant()
    def every_lease_is_in_the_store(self) -> None:
        assert self.shell.store.keys() == self.shell.ledger.leases.keys()

    @invariant()
    def every_request_is_answered_at_most_once_per_operation(self) -> None:
        assert all(count <= self.asked[name] for name, count in self.shell.answered.items())

    def teardown(self) -> None:
        """When all clients are gone and all effects done, everything is as it was."""
        self.shell.holders.clear()
        for name in list(self.shell.ledger.leases):
            self.shell.apply(Ending(name, "the end"))
        for _ in range(1000):
            if not self.shell.todo:
                break
            self.shell.holders.clear()
            self.carry_out(0, None)
        self.shell.holders.clear()
        for name in list(self.shell.ledger.leases):
            self.shell.apply(Ending(name, "the end"))
        while self.shell.todo:
            self.shell.holders.clear()
            self.carry_out(0, None)
        assert not self.shell.ledger.leases
        assert not self.shell.store
        assert self.shell.drivers == {a: d.driver for a, d in HOST.devices.items()}
        assert self.shell.limit == 8
        assert self.restarted or self.shell.answered == self.asked


Histories.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestHistories = Histories.TestCase
