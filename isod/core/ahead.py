"""``bind = "ahead"``: which devices shall wait on vfio-pci, and which no longer.

Free members of such a pool are bound before anybody asks for them: those without a driver, and
those on a driver that the pool's ``take_from`` lists. What the host needs is never taken: the guard
sees the whole group, and knows no exception here. Nor is a device of which a grant would be refused
for its relatives, its quarantine or its firmware: it would wait for nobody.

A device goes back to its former driver and override when no pool wants it any more: the pool, its
``bind``, or the driver in its ``take_from`` is gone from the policy. Not when isod stops: what
waits is free and harmless, and a restart would take each device through its kernel driver and back.
The rows under /run tell the next start what to put back; a reboot does that by itself.

What has failed, or was taken off vfio-pci by hand, is left alone until it looks otherwise or the
policy is loaded again: isod neither tries in a loop nor fights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isod.model.address import Address
from isod.model.ahead import Kept
from isod.model.host import Device, HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Policy, Pool
from isod.model.reason import RefusedError
from isod.model.step import GroupName
from isod.model.terms import Terms

from .consider import Bench, check_trusted
from .domain import Domains, check_domain
from .guard import check_guard
from .isolation import Isolation
from .ledger import Ledger
from .match import in_pool

# The domain's rules are asked as nobody in particular: what they tell is not passed on.
_NOBODY = Peer(uid=-1, gid=-1, groups=frozenset(), pid=0)
_NO_EXCEPTIONS = Terms()

# How a device looked when something failed: its generation and driver.
Looks = tuple[int, str | None]


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done: bind these, put those back, forget the others' rows."""

    keep: tuple[Kept, ...] = ()
    put_back: tuple[Address, ...] = ()
    forget: tuple[Address, ...] = ()


def looks(device: Device | None) -> Looks:
    return (-1, None) if device is None else (device.generation, device.driver)


def due(bench: Bench, left_alone: Mapping[Address, Looks]) -> Due:
    """What the policy wants of the host as it is. ``left_alone``: devices with which something has
    failed, as they looked then. Pure; each part of it may be done at once."""
    found = _Look(bench.policy, bench.snapshot, bench.ledger, left_alone)
    candidates = list(found.candidates(bench.snapshot.devices))
    put_back, forget, half_way = found.rows(bench.ledger.shelf.rows)
    keep = tuple(_judged(bench, candidates)) if candidates else ()
    kept = {one.address for one in keep}
    put_back += (address for address in half_way if address not in kept)
    return Due(keep, tuple(put_back), tuple(forget))


def concerns(
    policy: Policy,
    snapshot: HostSnapshot,
    ledger: Ledger,
    left_alone: Mapping[Address, Looks],
    changed: Iterable[Address],
) -> bool:
    """Whether something may be due for one of these devices, without the judgement that costs."""
    found = _Look(policy, snapshot, ledger, left_alone)
    addresses = tuple(changed)
    return any(map(any, found.rows(addresses))) or any(True for _ in found.candidates(addresses))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A device that a pool wants to wait, and where it comes from."""

    device: Device
    pool: Pool
    driver: str | None
    override: str | None


class _Look:
    """What rows and policy say, before it is asked whether a device can be spared."""

    def __init__(
        self,
        policy: Policy,
        snapshot: HostSnapshot,
        ledger: Ledger,
        left_alone: Mapping[Address, Looks],
    ) -> None:
        self._policy = policy
        self._snapshot = snapshot
        self._ledger = ledger
        self._left_alone = left_alone
        pools = () if policy.missing else policy.pools.values()
        self._pools = [pool for pool in pools if pool.ahead]

    def rows(
        self, addresses: Iterable[Address]
    ) -> tuple[list[Address], list[Address], list[Address]]:
        """Of these devices' rows: what is to be put back, what to be forgotten, and what a crash
        left half-way and is to be bound, or else put back."""
        put_back: list[Address] = []
        forget: list[Address] = []
        half_way: list[Address] = []
        for address in () if self._policy.missing else addresses:
            row = self._ledger.shelf.rows.get(address)
            if row is None or row.state in {"binding", "returning"}:
                continue
            device = self._snapshot.devices.get(address)
            if device is None or device.generation != row.generation:
                forget.append(address)
            elif self._is_taken(device):
                continue
            elif row.state == "waiting" and not device.on_vfio:
                forget.append(address)  # by hand; what it is on now is somebody's wish
            elif self._left_alone.get(address) == looks(device):
                continue
            elif self._pool_for(device, row.former_driver) is None:
                put_back.append(address)
            elif not device.on_vfio:
                half_way.append(address)
        return put_back, forget, half_way

    def candidates(self, addresses: Iterable[Address]) -> Iterator[_Candidate]:
        """Those of these devices that are to be bound, if they can be spared."""
        for address in addresses if self._pools else ():
            device = self._snapshot.devices.get(address)
            if device is None or device.is_bridge or address.bus != "pci":
                continue
            if self._is_taken(device) or self._left_alone.get(address) == looks(device):
                continue
            driver, override = device.driver, device.driver_override
            row = self._ledger.shelf.rows.get(address)
            if row is not None and row.generation == device.generation:
                if row.state != "unsure":
                    continue
                # What a crash left comes from where it was before, not from where it is.
                driver, override = row.former_driver, row.former_override
            elif device.on_vfio:
                continue  # it waits there already, and isod did not bring it there
            pool = self._pool_for(device, driver)
            if pool is not None:
                yield _Candidate(device, pool, driver, override)

    def _is_taken(self, device: Device) -> bool:
        """Somebody has it, or the kernel is busy with it."""
        owned = device.group is not None and self._ledger.owner_of(device.group) is not None
        return owned or device.unsettled

    def _pool_for(self, device: Device, former: str | None) -> Pool | None:
        """The first pool that wants it to wait and may take it from its former driver."""
        for pool in self._pools:
            if former is not None and former not in pool.take_from:
                continue
            if in_pool(self._policy, pool.name, device):
                return pool
        return None


def _judged(bench: Bench, candidates: Iterable[_Candidate]) -> Iterator[Kept]:
    isolation = bench.isolation or Isolation(bench.snapshot, bench.policy)
    domains = Domains(bench.sets)
    for candidate in candidates:
        device = candidate.device
        group = bench.snapshot.group_of(device.address)
        if group is None or not _can_be_spared(bench, isolation, domains, device):
            continue
        yield Kept(
            address=device.address,
            generation=device.generation,
            group=GroupName(group.number, group.generation),
            pool=candidate.pool.name,
            former_driver=candidate.driver,
            former_override=candidate.override,
            domain=domains.of([device.address]),
        )


def _can_be_spared(bench: Bench, isolation: Isolation, domains: Domains, device: Device) -> bool:
    """Whether a grant of it is thinkable, and the host can do without it."""
    groups = isolation.groups_of([device.address])
    if any(group.firmware_mappings for group in groups):
        return False
    try:
        for group in groups:
            check_trusted(bench.ledger, group)
        check_domain(domains, bench.ledger, _NOBODY, groups)
        check_guard(bench.sets, bench.facts, [device], groups, _NO_EXCEPTIONS)
    except RefusedError:
        return False
    return True
