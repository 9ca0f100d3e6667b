"""Small hosts and policies for tests of the core, written as one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isod.core.consider import Bench, Considered, consider_in
from isod.core.decide import Decision
from isod.core.domain import Domains
from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.core.plan import plan_grant
from isod.core.reset_set import ResetSets
from isod.model.address import Address
from isod.model.host import Device, Features, Group, HostSnapshot, ReservedRegion
from isod.model.lease import Lease, Owner
from isod.model.peer import Peer
from isod.model.policy import Policy, Rule, Who
from isod.model.request import Acquire
from isod.model.terms import Terms, What

ALL = Features(iommufd=True, cdev=True, container=True, kernel="test")
ALICE = Peer(uid=1000, gid=1000, groups=frozenset({1000, 50}), pid=4000, verified=True)
BOB = Peer(uid=1001, gid=1001, groups=frozenset({1001}), pid=4001, verified=True)
OWNER = Owner(uid=1000, pid=4000, started=77)


def at(short: str) -> Address:
    return Address.parse(short)


def device(short: str, group: int | None, driver: str | None = None, **facts: Any) -> Device:
    """A network function with a function reset, unless ``facts`` say otherwise."""
    address = at(short)
    given: dict[str, Any] = {
        "vendor": "8086",
        "product": "10d3",
        "device_class": "020000",
        "reset_methods": ("flr", "bus"),
        "header_type": 0,
        **facts,
    }
    return Device(address, sum(map(ord, short)), driver=driver, group=group, **given)


def bridge(
    short: str, group: int | None, driver: str | None = "pcieport", below: str | None = None
) -> Device:
    """A bridge; ``below`` is the bus behind it ("04")."""
    facts = {"device_class": "060400", "header_type": 1, "reset_methods": ()}
    bus = None if below is None else f"0000:{below}"
    return device(short, group, driver, secondary_bus=bus, **facts)


def host(*devices: Device, firmware: Sequence[int] = ()) -> HostSnapshot:
    """A host of these devices; groups follow from them. ``firmware``: groups mapped 1:1."""
    numbers = sorted({d.group for d in devices if d.group is not None})
    region = (ReservedRegion(0x1000, 0x1FFF, "direct"),)
    groups = {
        number: Group(
            number,
            9000 + number,
            tuple(sorted(d.address for d in devices if d.group == number)),
            reserved_regions=region if number in firmware else (),
        )
        for number in numbers
    }
    return HostSnapshot(1, {d.address: d for d in devices}, groups, ALL)


def allow(*what: What, name: str = "allow", who: Sequence[Who] | None = None, **terms: Any) -> Rule:
    return Rule(name, True, tuple(who) if who else None, what or None, Terms(**terms), "test.toml")


def deny(*what: What, name: str = "deny", who: Sequence[Who] | None = None) -> Rule:
    return Rule(name, False, tuple(who) if who else None, what or None, Terms(), "test.toml")


def policy(*rules: Rule) -> Policy:
    return Policy(rules, 1)


def exactly(short: str) -> What:
    return What(address=str(at(short)), exact=True)


def acquire(*shorts: str, **wishes: Any) -> Acquire:
    return Acquire.model_validate({"devices": [{"address": s} for s in shorts], **wishes})


def lease_for(
    snapshot: HostSnapshot,
    name: str,
    addresses: Sequence[Address],
    memlock: int | None,
    limit: int,
    quirks: Policy | None = None,
    **terms: Any,
) -> Lease:
    """A lease as the gate would begin it; the peer's limit is ``limit``."""
    given = Terms(memlock=memlock, **terms)
    rules = (allow(name="rule"),) * len(addresses)
    requested = [snapshot.devices[address] for address in addresses]
    plan = plan_grant(
        snapshot,
        acquire(*map(str, addresses)),
        requested,
        Isolation(snapshot, quirks).groups_of(addresses),
        Decision(rules, given, "iommufd"),
        OWNER,
        None if memlock is None else (limit, limit),
    )
    return Lease(
        name,
        "secret",
        OWNER,
        "rule",
        "iommufd",
        given,
        plan.devices,
        plan.groups,
        plan.steps,
        former_limit=None if memlock is None else (limit, limit),
        domain=Domains(ResetSets(snapshot)).of(one.address for one in plan.devices),
    )


def consider(
    policy: Policy, snapshot: HostSnapshot, ledger: Ledger, peer: Peer, request: Acquire
) -> Considered:
    """A request, considered on a bench of these alone. Raises RefusedError."""
    return consider_in(Bench(policy, ResetSets(snapshot), ledger), peer, request)
