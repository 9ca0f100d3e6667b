"""A shell for the ledger that keeps books of its own: what is bound, who has what open, what was
raised. The invariants are checked against these books, never against the ledger's word alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.model.address import Address
from isod.model.event import (
    Announce,
    Deadline,
    Deliver,
    DeliveryFailed,
    Discard,
    Drain,
    Effect,
    Ending,
    EndPeer,
    Event,
    Fenced,
    Forget,
    GiveBack,
    Idle,
    InUse,
    PeerEnded,
    PeerNotEnded,
    Prepare,
    Prepared,
    PrepareFailed,
    Quarantine,
    Recovered,
    Refuse,
    Remember,
    Revoke,
    RunFences,
    ScrubAgain,
    StartTimer,
    StopTimer,
    Unquarantine,
)
from isod.model.host import HostSnapshot, is_vfio_driver
from isod.model.lease import Lease, State
from isod.model.policy import Policy
from isod.model.reason import Reason, Refusal
from isod.model.step import (
    Bind,
    Fence,
    HotReset,
    Limit,
    OpenFile,
    Probe,
    Reset,
    Restore,
    Step,
    Unbind,
)

from . import scrubbing
from .scrubbing import FAILED

HELD = Refusal(Reason.held_outside, "held by another program", {})
BEFORE = 8


def fates(host: HostSnapshot) -> dict[Address, Address]:
    """What shares a fate has the same name here: a bus below a bridge, a physical function and
    its virtual ones, a parent and its mdevs. Worked out as simply as can be."""
    buses = {device.secondary_bus for device in host.devices.values() if device.secondary_bus}
    name = {address: address for address in host.devices}
    while True:
        for address, device in host.devices.items():
            kin = [one for one in (device.physical_function, device.parent) if one is not None]
            if address.pci_bus in buses:
                kin += [other for other in host.devices if other.pci_bus == address.pci_bus]
            least = min(name[one] for one in (address, *kin))
            changed = [one for one in (address, *kin) if name[one] != least]
            name.update(dict.fromkeys(changed, least))
            if changed:
                break
        else:
            return name


def _on_vfio(driver: str | None) -> bool:
    return driver is not None and is_vfio_driver(driver)


@dataclass(frozen=True, slots=True)
class Late:
    """An event that is on its way."""

    event: Event


@dataclass
class Shell:
    """Carries effects out on its books, one at a time, when the test says so.

    ``holders``: what each lease's client has open. ``unseen``: leases whose client has bound none
    of its cdevs, so that no probe sees them. ``touched``: what a plan's steps have bound or
    unbound, as far as no restart came between. ``ours``: files that isod has opened and not
    sent yet. ``foreign``: groups that another root program has open. ``timers``: when each lease's
    timer runs out. ``cut``: leases that are taken back without being asked.
    """

    host: HostSnapshot
    ledger: Ledger = field(default_factory=Ledger)
    store: dict[str, Lease] = field(default_factory=dict)
    todo: list[Effect | Late] = field(default_factory=list)
    drivers: dict[Address, str | None] = field(default_factory=dict)
    holders: dict[str, frozenset[Address]] = field(default_factory=dict)
    ours: dict[str, frozenset[Address]] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    foreign: set[int] = field(default_factory=set)
    touched: dict[str, set[Address]] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    now: float = 1000.0
    limit: int = BEFORE
    answered: Counter[str] = field(default_factory=Counter)
    visits: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: int = 0
    steps: int = 0
    fates: dict[Address, Address] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self.drivers = {address: device.driver for address, device in self.host.devices.items()}
        self.fates = fates(self.host)

    # --- events and effects ---------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        name = getattr(event, "lease", None)
        before = self.ledger.leases.get(name) if isinstance(name, str) else None
        self.visits[before.state.value if before else "-", type(event).__name__] += 1
        self.steps += 1
        effects = self.ledger.apply(event, self.now)
        after = self.ledger.leases.get(name) if isinstance(name, str) else None
        state = after.state if after else None
        self.changes += before is None or state is not before.state
        for effect in effects:
            self._take(effect, str(name))

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
            case Announce() | Quarantine() | Unquarantine():
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
        assert scrubbing.blocked(self.host, effect, owners) is None, "nothing was plugged in"
        if scrubbing.may_wait(effect) and fail_at is not None and fail_at < 4:
            self.apply(scrubbing.waits(effect, seen=unseen))
            self.todo.append(Late(ScrubAgain(effect.lease.id)))
            return
        failed = None
        for step in effect.steps:
            self.run(step, effect.lease)
            if isinstance(step, Reset | HotReset) and fail_at is not None:
                failed = step
        self.apply(scrubbing.returned(effect, failed))
        self._check_unclean(effect.lease, failed)

    def _check_unclean(self, lease: Lease, failed: Step | None) -> None:
        """What a rule wants scrubbed and could not be is given to nobody."""
        if isinstance(failed, Reset | HotReset) and failed.required:
            left = scrubbing.of_which(lease, failed) - self.ledger.quarantined.keys()
            assert not left, f"{left} not scrubbed and given out again"

    def _prepare(self, effect: Prepare, fail_at: int | None) -> None:
        touched = self.touched.setdefault(effect.lease.id, set())
        for place, step in enumerate(effect.steps):
            refusal = scrubbing.failing(step) if place == fail_at else self._obstacle(step)
            if isinstance(step, Bind | Unbind):
                touched.add(step.address)
                if refusal is not None:
                    self.run(step)  # it did its work and failed afterwards, say at reading back
            if refusal is not None:
                self.apply(PrepareFailed(effect.lease.id, place + 1, refusal))
                self._check_unclean(effect.lease, step)
                return
            self.run(step, effect.lease)
        self.ours[effect.lease.id] = frozenset(effect.lease.requested)
        files = (OpenFile("iommufd", -1),)
        self.apply(Prepared(effect.lease.id, files, effect.lease.devices))

    def _obstacle(self, step: Step) -> Refusal | None:
        """What the kernel would refuse."""
        if isinstance(step, Probe) and step.group.number in self.foreign:
            return HELD
        if isinstance(step, Fence) and self.is_held(step.address):
            return FAILED
        return None

    def _deliver(self, effect: Deliver, *, fails: bool, unseen: bool) -> None:
        self.ours.pop(effect.lease.id, None)
        self.answered[effect.lease.id] += 1
        if fails:
            # The files are closed; that it failed is said a moment later, whatever came between.
            self.todo.append(Late(DeliveryFailed(effect.lease.id)))
            return
        self.holders[effect.lease.id] = frozenset(effect.lease.requested)
        if unseen:
            self.unseen.add(effect.lease.id)

    def _drain(self, effect: Drain) -> None:
        lease = self.ledger.leases[effect.lease.id]
        if not lease.ever_leased and lease.id in self.touched:
            strangers = {d.address for d in effect.devices} - self.touched[lease.id]
            assert not strangers, f"a roll-back is after {strangers}, which no step touched"
        seen = [held for name, held in self.holders.items() if name not in self.unseen]
        busy = [d.address for d in effect.devices if any(d.address in held for held in seen)]
        busy += [d.address for d in effect.devices if d.group in self.foreign]
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
            self.holders.pop(lease, None)
            self.unseen.discard(lease)
            self.todo.append(Late(Ending(lease, "its hold was closed")))
        if late:
            self.todo.append(Late(event))
        else:
            self.apply(event)

    def _fence(self, effect: RunFences) -> None:
        fences = [step for step in effect.steps if isinstance(step, Fence)]
        waiting = [fence.address for fence in fences if self.is_held(fence.address)]
        if waiting:  # as the kernel does
            self.apply(InUse(effect.lease.id, tuple(waiting)))
            self.todo.append(effect)
            return
        for fence in fences:
            self.run(fence)
        self.apply(Fenced(effect.lease.id))

    # --- the kernel's part ----------------------------------------------------------------------

    def run(self, step: Step, lease: Lease | None = None) -> None:
        """One step, with what the kernel would never do or isod must never ask as assertions."""
        match step:
            case Unbind():
                self._check_children(step.address)
                self.drivers[step.address] = None
            case Bind():
                self.drivers[step.address] = step.driver
            case Fence():
                self._check_alone(step.address)
                self._check_children(step.address)
                if _on_vfio(self.drivers[step.address]):
                    self.drivers[step.address] = None
            case Reset():
                self._check_alone(step.address)
            case HotReset():
                assert lease is not None
                scrubbing.check_hot_reset(self.host, step, lease, self.drivers)
                for address in scrubbing.hit_by(self.host, step):
                    self._check_alone(address)
            case Restore():
                self._check_alone(step.address)
                self.drivers[step.address] = step.driver
            case Limit():
                self.limit = max(self.limit, step.soft) if step.raise_only else step.soft
            case _:
                pass

    def _check_alone(self, address: Address) -> None:
        """Fence, reset and restore hit nobody: not a client, and not another root program."""
        assert not self.is_held(address), f"{address} is open"
        group = self.host.devices[address].group
        assert group not in self.foreign, f"another program has the group of {address}"

    def _check_children(self, address: Address) -> None:
        """Without its parent's driver a virtual function or an mdev is gone."""
        for child in self.host.devices.values():
            assert address not in {child.physical_function, child.parent}, f"{child} is removed"

    def is_held(self, address: Address) -> bool:
        """Open somewhere: with a client, or with us and on its way out."""
        books = (*self.holders.values(), *self.ours.values())
        return any(address in held for held in books)

    def kill(self) -> None:
        """The daemon is killed: what it had in memory and open is gone, the store's rows stay.
        It comes back and recovers."""
        rows = list(self.store.values())
        self.todo.clear()
        self.timers.clear()
        self.ours.clear()
        self.touched.clear()  # how far a plan had come is not known any more
        self.ledger = Ledger()
        for row in rows:
            self.apply(Recovered(row, held=False))

    def close(self, lease: str) -> None:
        """The client of a lease is gone, with all that it had open."""
        self.holders.pop(lease, None)
        self.unseen.discard(lease)
        self.apply(Ending(lease, "its hold was closed"))

    def revoke(self, lease: str, *, at_once: bool) -> None:
        """Somebody wants a lease back."""
        if at_once:
            self.cut.add(lease)
        self.apply(Revoke(lease, "revoked", at_once))

    def wait(self, seconds: float) -> None:
        """Time passes; timers run out."""
        self.now += seconds
        for lease in [name for name, due in self.timers.items() if due <= self.now]:
            del self.timers[lease]
            self.apply(Deadline(lease))

    # --- invariants -----------------------------------------------------------------------------

    def check(self) -> None:
        """What must hold between any two steps."""
        owners: Counter[int] = Counter()
        for lease in self.ledger.leases.values():
            owners.update(group.number for group in lease.groups)
        assert all(count == 1 for count in owners.values()), "a group with two owners"
        for name, held in (*self.holders.items(), *self.ours.items()):
            for address in held:
                group = self.host.devices[address].group
                assert group is not None
                owner = self.ledger.owner_of(group)
                assert owner is not None, f"{address} is open and free"
                assert owner.id == name, f"{address} is open by another than its owner"
        assert self.store.keys() == self.ledger.leases.keys()
        assert self.timers.keys() <= self.ledger.leases.keys(), "a timer of a lease that is gone"
        self._check_operations()
        for together in Isolation(self.host, self.policy).joined():
            has = {owner and owner.id for owner in map(self.ledger.owner_of, together)}
            assert len(has) == 1, f"{together} are joined and have {has}"

    def _check_operations(self) -> None:
        """No two operations at a time on what shares a fate."""
        busy: set[Address] = set()
        for effect in self.todo:
            if isinstance(effect, Prepare | GiveBack):
                fate = {self.fates[device.address] for device in effect.lease.devices}
                assert busy.isdisjoint(fate), f"{effect.lease.id} meets another operation"
                busy |= fate

    def end_everything(self) -> None:
        """All clients and foreign programs go, and everything finishes: all is as it was."""
        self.holders.clear()
        self.foreign.clear()
        while self.ledger.leases:
            for name in list(self.ledger.leases):
                self.close(name)
            while self.todo:
                self.carry_out(0)
                self.holders.clear()
        assert not self.store
        former = {address: device.driver for address, device in self.host.devices.items()}
        assert self.drivers == former, "a device is stranded"
        assert self.limit == BEFORE, "a raised limit was left"
