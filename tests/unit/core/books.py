"""A shell for the ledger that keeps books of its own, over those of a machine. The invariants are
checked against these books, never against the ledger's word alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.model.address import Address
from isod.model.effect import (
    Announce,
    Deliver,
    Discard,
    Drain,
    Effect,
    EndPeer,
    Forget,
    Freed,
    GiveBack,
    Prepare,
    Quarantine,
    Refuse,
    Remember,
    RunFences,
    StartTimer,
    StopTimer,
    Unquarantine,
)
from isod.model.event import (
    DeliveryFailed,
    Ending,
    Event,
    Fenced,
    Idle,
    InUse,
    PeerEnded,
    PeerNotEnded,
    Prepared,
    PrepareFailed,
    ScrubAgain,
)
from isod.model.lease import Lease, State
from isod.model.policy import Policy
from isod.model.quarantine import QuarantineEntry
from isod.model.step import (
    Bind,
    Fence,
    GrantNodes,
    HotReset,
    Limit,
    OpenFile,
    OpenGroup,
    OpenIommufd,
    Reset,
    RevokeNodes,
    Step,
    Unbind,
)

from . import scrubbing
from .machine import GONE, Machine
from .scrubbing import FAILED


@dataclass(frozen=True, slots=True)
class Late:
    """An event that is on its way."""

    event: Event


@dataclass(frozen=True, slots=True)
class Record:
    """What was decided about a lease. ``shown`` are the steps that explain shows; ``counted`` the
    devices that count in a quota, by address and generation, with the rule's name."""

    uid: int
    shown: tuple[Step, ...]
    counted: tuple[tuple[Address, int, str], ...] = ()


@dataclass
class Books(Machine):
    """Carries effects out on its books, one at a time, when the test says so.

    ``unseen``: leases whose client has bound none of its cdevs, so that no probe sees them.
    ``touched``: what a plan's steps have bound or unbound, as far as no restart came between.
    ``timers``: when each lease's timer runs out. ``cut``: leases that are taken back without being
    asked. ``anchors``: leases whose hold a client has. ``quarantine``: what is on disk of it.
    ``records``: what was decided about each lease.
    """

    ledger: Ledger = field(default_factory=Ledger)
    store: dict[str, Lease] = field(default_factory=dict)
    todo: list[Effect | Late] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    touched: dict[str, set[Address]] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)
    quarantine: dict[Address, QuarantineEntry] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    now: float = 1000.0
    answered: Counter[str] = field(default_factory=Counter)
    visits: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: int = 0
    steps: int = 0
    policy: Policy = field(default_factory=Policy)
    _isolation: Isolation | None = None

    @property
    def isolation(self) -> Isolation:
        """The isolation groups of the host under the present policy."""
        if self._isolation is None or self._isolation.snapshot is not self.host:
            self._isolation = Isolation(self.host, self.policy)
        if self._isolation.policy is not self.policy:
            self._isolation = Isolation(self.host, self.policy)
        return self._isolation

    # --- events and effects ---------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        name = getattr(event, "lease", None)
        before = self._states()
        state = before.get(name) if isinstance(name, str) else None
        self.visits[state.value if state else "-", type(event).__name__] += 1
        self.steps += 1
        effects = self.ledger.apply(event, self.now)
        self.changes += before != self._states()
        for effect in effects:
            self._take(effect, str(name))

    def _states(self) -> dict[str, State]:
        return {name: lease.state for name, lease in self.ledger.leases.items()}

    def _take(self, effect: Effect, name: str) -> None:
        match effect:
            case Remember(lease=row):
                self.store[row.id] = row
            case Forget(lease=row):
                del self.store[row.id]
            case Refuse(lease=row):
                self.answered[row.id] += 1
            case Discard():
                self.ours.pop(name, None)
            case StartTimer(lease=row, seconds=seconds):
                assert row.id not in self.timers, "two timers of one lease"
                self.timers[row.id] = self.now + seconds
            case StopTimer(lease=row):
                self.timers.pop(row.id, None)
            case EndPeer():
                self._check_ending(effect.lease)
                self.todo.append(effect)
            case Announce(kind="lease.ended", lease=row):
                # Killed in between, isod tells it once more; the other way round nobody ever would.
                assert row.id in self.store, "its row was gone before its end was told"
            case Quarantine(entries=entries):
                self.quarantine |= {entry.address: entry for entry in entries}
            case Unquarantine(address=address):
                if address is not None:
                    self.quarantine.pop(address, None)
            case Announce() | Freed():
                pass
            case Drain():
                for step in effect.steps:
                    if isinstance(step, Limit):  # in place, as the executor does
                        self.run(step)
                self.todo.append(effect)
            case _:
                self.todo.append(effect)

    def carry_out(self, place: int, fail_at: int | None = None, *, unseen: bool = False) -> None:
        """Finish one effect that waits. ``fail_at``: the step of a plan that fails, or a delivery
        that does. ``unseen``: the client binds nothing of what it gets, and the end of a peer is
        told late."""
        effect = self.todo.pop(place % len(self.todo))
        match effect:
            case Prepare():
                self._prepare(effect, fail_at)
            case Deliver():
                self._deliver(effect, fails=fail_at is not None, unseen=unseen)
            case Drain():
                self._drain(effect)
            case EndPeer():
                self._end_peer(effect.lease.id, fails=fail_at is not None, late=unseen)
            case RunFences():
                self._fence(effect)
            case GiveBack():
                self._give_back(effect, fail_at, unseen=unseen)
            case Late():
                self.apply(effect.event)
            case _:
                raise AssertionError(effect)

    def _give_back(self, effect: GiveBack, fail_at: int | None, *, unseen: bool) -> None:
        owners = {g.number: one for one in self.ledger.leases.values() for g in one.groups}
        blocked = scrubbing.blocked(self.host, effect, owners) is not None
        if blocked or (scrubbing.may_wait(effect) and fail_at is not None and fail_at < 4):
            self.apply(scrubbing.waits(effect, seen=unseen))
            self.todo.append(Late(ScrubAgain(effect.lease.id)))
            return
        failed, gone = None, False
        for step in effect.steps:
            if self._is_taken(step):
                continue
            refused = self._obstacle(step, effect.lease) if isinstance(step, HotReset) else None
            if refused is None:
                self.run(step, effect.lease)
            if isinstance(step, Reset | HotReset) and (fail_at is not None or refused):
                failed, gone = step, not self._is_there(step)
        self.apply(scrubbing.returned(effect, failed))
        if not gone:
            self._check_unclean(effect.lease, failed)

    def _check_unclean(self, lease: Lease, failed: Step | None) -> None:
        """What a rule wants scrubbed and could not be is given to nobody."""
        if isinstance(failed, Reset | HotReset) and failed.required:
            there = {device.address for device in lease.devices if self.is_there(device)}
            left = (scrubbing.of_which(lease, failed) & there) - self.quarantine.keys()
            assert not left, f"{left} not scrubbed and given out again"

    def _prepare(self, effect: Prepare, fail_at: int | None) -> None:
        touched = self.touched.setdefault(effect.lease.id, set())
        record = self.records.get(effect.lease.id)
        if record is not None and effect.lease.state is State.preparing:
            assert effect.steps == record.shown, "another plan than explain shows"
        for place, step in enumerate(effect.steps):
            refusal = self._obstacle(step, effect.lease)
            if isinstance(step, Bind | Unbind):
                touched.add(step.address)
            if place == fail_at and refusal is None:
                refusal = scrubbing.failing(step)
                if isinstance(step, Bind | Unbind | GrantNodes):
                    self.run(step, effect.lease)  # and failed afterwards, say at reading back
            if refusal is not None:
                self.apply(PrepareFailed(effect.lease.id, place + 1, refusal))
                if refusal is not GONE:
                    self._check_unclean(effect.lease, step)
                return
            self.run(step, effect.lease)
        opening = [s for s in effect.steps if isinstance(s, OpenIommufd | OpenGroup | GrantNodes)]
        files: tuple[OpenFile, ...] = ()
        for step in opening:
            self.given[effect.lease.id] = self.reach(step)
            if not isinstance(step, GrantNodes):
                self.ours[effect.lease.id] = self.reach(step)
                files = (OpenFile("iommufd" if isinstance(step, OpenIommufd) else "group", -1),)
        self.apply(Prepared(effect.lease.id, files, effect.lease.devices))

    def _deliver(self, effect: Deliver, *, fails: bool, unseen: bool) -> None:
        given = self.given.pop(effect.lease.id, frozenset())
        self.ours.pop(effect.lease.id, None)
        self.answered[effect.lease.id] += 1
        if fails:
            # The files are closed; that it failed is said a moment later, whatever came between.
            self.todo.append(Late(DeliveryFailed(effect.lease.id)))
            return
        if effect.lease.hand_over == "nodes":  # by path, as long as it may
            may = {name.number for name, _ in self.rights}
            given = frozenset(one for one in given if self.host.devices[one].group in may)
        self.holders[effect.lease.id] = given
        self.anchors.add(effect.lease.id)
        if unseen and effect.lease.hand_over == "iommufd":
            self.unseen.add(effect.lease.id)

    def _drain(self, effect: Drain) -> None:
        lease = self.ledger.leases[effect.lease.id]
        for step in effect.steps:
            if isinstance(step, RevokeNodes):
                self.run(step)
        if not lease.ever_leased and lease.id in self.touched:
            strangers = {d.address for d in effect.devices} - self.touched[lease.id]
            assert not strangers, f"a roll-back is after {strangers}, which no step touched"
        seen = [held for name, held in self.holders.items() if name not in self.unseen]
        there = [device for device in effect.devices if self.is_there(device)]
        busy = [d.address for d in there if any(d.address in held for held in seen)]
        busy += [d.address for d in there if d.group in self.foreign]
        if busy:
            self.apply(InUse(effect.lease.id, tuple(sorted(set(busy)))))
            self.todo.append(Drain(effect.lease, (), effect.devices))
        else:
            self.apply(Idle(effect.lease.id))

    def _check_ending(self, lease: Lease) -> None:
        """A peer is ended only as its rule says, when its time is over, and while it keeps
        something open (an unbind that waits was told of before, and may have returned since)."""
        assert lease.terms.revoke.then == "kill"
        assert lease.revocation is not None
        in_time = self.now < lease.revocation.deadline and lease.id not in self.cut
        assert not in_time, "ended before its deadline"
        foreign = any(group.number in self.foreign for group in lease.groups)
        kept = self.holders.get(lease.id) or foreign or lease.state is State.fencing
        assert kept, "ended, and it had let go"

    def _end_peer(self, lease: str, *, fails: bool, late: bool) -> None:
        """What it has open closes as it dies; that it was ended may be told a moment later."""
        event = PeerNotEnded(lease, FAILED) if fails else PeerEnded(lease, "killed")
        if not fails:
            self._dies(lease)
            self.todo.append(Late(Ending(lease, "its hold was closed")))
        if late:
            self.todo.append(Late(event))
        else:
            self.apply(event)

    def _fence(self, effect: RunFences) -> None:
        fences = [step for step in effect.steps if isinstance(step, Fence)]
        there = [fence for fence in fences if self._is_there(fence)]
        waiting = [fence.address for fence in there if self.is_held(fence.address)]
        if waiting:  # as the kernel does
            self.apply(InUse(effect.lease.id, tuple(waiting)))
            self.todo.append(effect)
            return
        for fence in fences:
            self.run(fence)
        self.apply(Fenced(effect.lease.id))

    def _dies(self, lease: str) -> None:
        self.holders.pop(lease, None)
        self.unseen.discard(lease)
        self.anchors.discard(lease)
