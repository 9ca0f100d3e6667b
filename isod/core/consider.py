"""One request, considered from its words to a decision: what acquire and explain have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from isod.model.address import Address
from isod.model.critical import CriticalFacts
from isod.model.host import Device, Group, HostSnapshot
from isod.model.lease import Owner, State
from isod.model.peer import Peer
from isod.model.policy import Policy
from isod.model.reason import Reason, RefusedError
from isod.model.request import Acquire

from .decide import Decision, decide
from .domain import Domains, check_domain
from .guard import check_guard
from .isolation import Isolation
from .ledger import Ledger
from .plan import Plan, plan_grant
from .pool import Choosing
from .queue import Wants
from .quota import check_quota
from .reset_set import ResetSets
from .view import hand_overs, holder

_NOBODY = Owner(uid=0, pid=0, started=0)
UNKNOWN_HINT = (
    "set what is known to be sick (isoctl quarantine set), then: isoctl quarantine clear --unknown"
)
_NOT_LOOKED = CriticalFacts(unread="not looked up yet")

# What no end of a lease cures. On which driver a device is may be another then.
_FOR_GOOD = frozenset({Reason.denied, Reason.terms, Reason.terms_conflict, Reason.unsupported})


@dataclass(frozen=True, slots=True)
class Considered:
    """A request that may be granted as soon as its groups are free. ``pools`` says which of the
    devices came out of which pool."""

    requested: tuple[Device, ...]
    groups: tuple[Group, ...]
    decision: Decision
    pools: Mapping[Address, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Bench:
    """All that a judgement is made from: the same picture gives the same judgement. ``facts`` are
    what the host needs. ``kept`` are groups that others wait for, who came before. ``isolation`` is
    that of policy and snapshot, worked out here unless the caller has it already."""

    policy: Policy
    sets: ResetSets
    ledger: Ledger
    facts: CriticalFacts = _NOT_LOOKED
    kept: frozenset[int] = frozenset()
    isolation: Isolation | None = None

    @property
    def snapshot(self) -> HostSnapshot:
        return self.sets.snapshot


def consider_in(bench: Bench, peer: Peer, request: Acquire, *, if_free: bool = False) -> Considered:
    """Look the devices up, choose out of pools what can be had now, decide, and count quotas.
    Raises RefusedError.

    Whether the groups are free is asked next, of ``check_free``: the policy comes before the
    ledger, so that whoever may not have a device does not learn who has it.
    ``if_free``: as if nobody had or wanted anything, to learn whether waiting makes sense.
    """
    named = _named(bench.snapshot, request)
    if not request.pools:
        return _weigh(bench, peer, request, named)
    if named:
        _weigh(bench, peer, request, named)  # what is wrong with these is not the pool's fault
    choosing = _choosing(bench, peer, request, if_free=if_free)
    chosen = choosing.choose(request, named)
    pools = {one.device.address: one.pool for one in chosen if one.pool is not None}
    devices = tuple(one.device for one in chosen)
    return replace(_weigh(bench, peer, request, devices), pools=MappingProxyType(pools))


def wants(bench: Bench, peer: Peer, request: Acquire) -> Wants:
    """What a request that waits keeps from those behind it, and whether it can go now.

    One that would be refused whatever becomes free can go, too: it is told so.
    """
    try:
        named = _named(bench.snapshot, request)
    except RefusedError:
        return Wants(frozenset(), ready=True)
    try:
        groups = consider_in(bench, peer, request).groups
    except RefusedError as error:
        if error.refusal.reason in _FOR_GOOD:
            return Wants(frozenset(), ready=True)
        if request.pools and error.refusal.may_pass:
            return Wants(_choosing(bench, peer, request).holds(request, named))
        groups = _groups_of(bench, named)
    numbers = frozenset(group.number for group in groups)
    return Wants(numbers, ready=all(map(_is_free(bench), numbers)))


def _choosing(bench: Bench, peer: Peer, request: Acquire, *, if_free: bool = False) -> Choosing:
    snapshot = bench.snapshot
    isolation = bench.isolation or Isolation(snapshot, bench.policy)
    bench = replace(bench, isolation=isolation)
    domains = Domains(bench.sets)

    def weigh(devices: Sequence[Device]) -> Sequence[Group]:
        """Whatever a grant would be refused for, but that somebody has the groups: what happens to
        the devices of a lease that ends is no reason not to wait for it."""
        found = _judge(bench, peer, request, devices)
        _check_known(snapshot, [g for g in found.groups if bench.ledger.owner_of(g.number) is None])
        for group in found.groups:
            check_trusted(bench.ledger, group)
        check_domain(domains, bench.ledger, peer, found.groups)
        decision = found.decision
        check_guard(bench.sets, bench.facts, devices, found.groups, decision.terms, decision.extras)
        _plan(snapshot, request, found)
        return found.groups

    return Choosing(
        policy=bench.policy,
        snapshot=snapshot,
        peer=peer,
        groups_of=partial(_groups_of, bench),
        weigh=weigh,
        is_free=(lambda group: True) if if_free else _is_free(bench),
    )


def _is_free(bench: Bench) -> Callable[[int], bool]:
    return lambda group: bench.ledger.owner_of(group) is None and group not in bench.kept


def _plan(snapshot: HostSnapshot, request: Acquire, found: Considered) -> Plan:
    """A plan for nobody: what the snapshot shows to be impossible shows in making it."""
    return plan_grant(
        snapshot, request, found.requested, found.groups, found.decision, _NOBODY, None
    )


def _groups_of(bench: Bench, devices: Sequence[Device]) -> tuple[Group, ...]:
    isolation = bench.isolation or Isolation(bench.snapshot, bench.policy)
    return isolation.groups_of([device.address for device in devices])


def _weigh(bench: Bench, peer: Peer, request: Acquire, requested: Sequence[Device]) -> Considered:
    found = _judge(bench, peer, request, requested)
    _check_known(bench.snapshot, found.groups)
    return found


def _judge(bench: Bench, peer: Peer, request: Acquire, requested: Sequence[Device]) -> Considered:
    """What the policy says, quotas included."""
    policy, snapshot = bench.policy, bench.snapshot
    decision = decide(
        policy,
        snapshot,
        peer,
        request,
        requested,
        hand_overs(snapshot.features),
        bench.isolation,
        bench.sets,
    )
    check_quota(bench.ledger.leases.values(), peer, decision.rules, policy.limits, decision.along)
    return Considered(tuple(requested), decision.groups, decision)


def _named(snapshot: HostSnapshot, request: Acquire) -> tuple[Device, ...]:
    """The devices asked for by address, each known, present as the asker knew it, and isolated."""
    devices: list[Device] = []
    for wanted in request.named:
        device = snapshot.devices.get(wanted.address)
        name = wanted.address.short
        if device is None:
            raise RefusedError(Reason.not_found, f"there is no device {name}")
        if wanted.generation not in (None, device.generation):
            raise RefusedError(
                Reason.gone, f"another device is at {name} now", devices=[str(wanted.address)]
            )
        if device in devices:
            raise RefusedError(Reason.terms, f"{name} is asked for twice")
        if wanted.address.bus != "pci":
            raise RefusedError(
                Reason.unsupported,
                f"{name} is no PCI device; others are not handed out yet",
                devices=[str(wanted.address)],
            )
        if device.is_bridge:
            raise RefusedError(
                Reason.unsupported,
                f"{name} is a bridge; bridges are not handed out",
                hint="ask for a device below it",
            )
        if device.group is None or snapshot.group_of(wanted.address) is None:
            raise RefusedError(
                Reason.unsupported,
                f"{name} is behind no IOMMU: its DMA reaches all of memory",
                hint="turn the IOMMU on (intel_iommu=on, or in the firmware)",
                devices=[str(wanted.address)],
            )
        devices.append(device)
    return tuple(devices)


def _check_known(snapshot: HostSnapshot, groups: Sequence[Group]) -> None:
    """A member that could not be read may be anything: its group is given to nobody."""
    for group in groups:
        for address in group.members:
            member = snapshot.devices.get(address)
            if member is None or member.unsettled:
                raise RefusedError(
                    Reason.kernel,
                    f"{address.short} of group {group.number} cannot be read now",
                    hint="the kernel is busy with it, or sysfs is odd; look with isoctl show",
                    devices=[str(address)],
                )


def check_queue(bench: Bench, groups: Sequence[Group]) -> None:
    """Whoever came before and waits comes first. Raises RefusedError."""
    contested = bench.kept.intersection(group.number for group in groups)
    if contested:
        numbers = ", ".join(map(str, sorted(contested)))
        raise RefusedError(Reason.group_busy, f"others wait for group {numbers}")


def check_free(ledger: Ledger, peer: Peer, groups: Sequence[Group]) -> None:
    """Raises RefusedError for a group that somebody has, or with a member in quarantine."""
    for group in groups:
        check_trusted(ledger, group)
        lease = ledger.owner_of(group.number)
        if lease is None:
            continue
        verb = "leased" if lease.state is State.leased else lease.state.public
        shown = holder(lease, peer)
        raise RefusedError(
            Reason.group_busy,
            f"group {group.number} is {verb}",
            devices=[str(address) for address in group.members],
            holder=shown.model_dump(exclude_none=True) if shown else None,
        )


def check_trusted(ledger: Ledger, group: Group) -> None:
    """Raises RefusedError for a group with a member in quarantine."""
    for address in group.members:
        why = ledger.distrusts(address)
        if why is None:
            continue
        on_record = address in ledger.quarantined
        raise RefusedError(
            Reason.quarantined,
            f"{address.short} is quarantined: {why}",
            hint=f"look at the reason, then: isoctl quarantine clear {address.short}"
            if on_record
            else UNKNOWN_HINT,
            devices=[str(address)],
        )
