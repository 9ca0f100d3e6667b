"""Policies at random, with pools and quirks; who asks, what for, and what the host needs itself."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Literal

from isod.model.critical import CriticalFacts, CriticalUse
from isod.model.host import HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Limits, Policy, Pool, Quirk, Rule, Who
from isod.model.request import Acquire
from isod.model.step import HandOver, Scrub
from isod.model.terms import Quota, ResetTerm, Revoke, Terms, What

from .build import ALICE, BOB
from .random_host import CLASSES, DRIVERS, VENDORS

CAROL = Peer(
    uid=1002,
    gid=50,
    groups=frozenset({50, 1002}),
    pid=4002,
    verified=True,
    cgroup="/machine.slice/vm1.scope",
)
# Where Bob runs is not known.
PEERS = (replace(ALICE, cgroup="/user.slice/alice.scope"), BOB, CAROL)
HAND_OVERS: tuple[HandOver, ...] = ("iommufd", "group", "nodes")
_ASK: tuple[Literal["wait", "kill"], ...] = ("wait", "kill", "kill")
_SCRUB: tuple[Scrub, ...] = ("try", "off", "require")
_WHO = (
    Who(uids=((1000, 1000),)),
    Who(uids=((1001, 1002),)),
    Who(gids=((50, 50),)),
    Who(cgroups=("machine.slice/*",)),
    Who(uids=((1000, 1002),), gids=((1001, 1001),)),
)


def random_policy(dice: Random, host: HostSnapshot) -> Policy:
    """A few rules about a few peers and devices, behind them mostly one that allows the rest."""
    rules = [_rule(dice, host, f"r{number}") for number in range(dice.randint(1, 4))]
    if dice.random() < 0.9:
        rules.append(_rest(dice, host))
    return Policy(
        tuple(rules),
        1,
        pools={"some": Pool("some", tuple(_what(dice, host, pools=False) for _ in range(2)))},
        quirks=_quirks(dice, host),
        limits=Limits(leases_per_uid=dice.choice((2, 4, 64, 64))),
    )


def random_needs(dice: Random, host: HostSnapshot) -> CriticalFacts:
    """Mostly little or nothing."""
    needed = [a for a in sorted(host.devices) if dice.random() < 0.04]
    return CriticalFacts({a: (CriticalUse("mounted disk", "holds /"),) for a in needed})


def random_wish(dice: Random, addresses: list[str]) -> Acquire:
    """One or two of these devices, or of a pool; mostly without a wish for anything else."""
    wanted = dice.sample(addresses, k=min(len(addresses), dice.choice((1, 1, 2))))
    devices: list[dict[str, object]] = [{"address": one} for one in wanted]
    if dice.random() < 0.15:
        devices[0] = {"pool": "some", "count": dice.choice((1, 1, 2))}
    wishes: dict[str, object] = {}
    if dice.random() < 0.5:
        wishes["hand_over"] = dice.choice(HAND_OVERS)
    if dice.random() < 0.2:
        wishes["reset"] = dice.choice(("whole-set", "whole-set", "if-owned"))
    if dice.random() < 0.1:
        wishes["memlock"] = dice.choice((8, 16, 24))
    if dice.random() < 0.2:
        wishes["container"] = "raw"
    return Acquire.model_validate({"devices": devices, **wishes})


def _rest(dice: Random, host: HostSnapshot) -> Rule:
    """Allows everything; or the first function of each card, and the others with it."""
    terms = _terms(dice, host, generous=True)
    if dice.random() < 0.8:
        return Rule("rest", True, None, None, terms, "test.toml")
    along = tuple(What(vendor=vendor) for vendor in VENDORS)
    whole: ResetTerm = dice.choice(("whole-set", "if-owned"))
    terms = replace(terms, may_take=along, reset=whole)
    return Rule("rest", True, None, (What(address="pci:*.0"),), terms, "test.toml")


def _rule(dice: Random, host: HostSnapshot, name: str) -> Rule:
    who = None if dice.random() < 0.4 else tuple(dice.sample(_WHO, k=dice.choice((1, 1, 2))))
    what = tuple(_what(dice, host) for _ in range(dice.choice((1, 1, 2))))
    allow = dice.random() < 0.8
    terms = _terms(dice, host, generous=False) if allow else Terms()
    return Rule(name, allow, who, what, terms, "test.toml")


def _what(dice: Random, host: HostSnapshot, *, pools: bool = True) -> What:
    """Sometimes of two keys."""
    address = str(dice.choice(sorted(host.devices)))
    match dice.choice(
        ("exact", "exact", "pattern", "vendor", "class", "pool" if pools else "exact")
    ):
        case "exact":
            return What(address=address, exact=True)
        case "pattern":
            vendor = dice.choice((*VENDORS, None, None))
            return What(address=_pattern(address), vendor=vendor)
        case "vendor":
            return What(vendor=dice.choice(VENDORS), device_class=dice.choice((*CLASSES, None)))
        case "class":
            return What(device_class=dice.choice((*CLASSES, "02", "03")))
        case _:
            return What(pool="some")


def _pattern(address: str) -> str:
    """All functions of a device (of an mdev: its neighbours)."""
    return f"{address[:-1]}*"


def _terms(dice: Random, host: HostSnapshot, *, generous: bool) -> Terms:
    wanted = HAND_OVERS if generous else dice.sample(HAND_OVERS, k=dice.choice((1, 2, 3, 3)))
    drivers = [one for one in DRIVERS if one and (generous or dice.random() < 0.6)]
    ok = [str(a) for a in sorted(host.devices) if dice.random() < 0.3]
    whole = dice.random() < (0.05 if generous else 0.2)
    return Terms(
        hand_over=tuple(dice.sample(wanted, k=len(wanted))),
        memlock=dice.choice((None, 16, 32)),
        scrub=dice.choice(_SCRUB),
        reset="whole-set" if whole else "if-owned",
        take_from=tuple(drivers),
        may_take=(_what(dice, host),) if dice.random() < 0.5 else (),
        critical_ok=tuple(ok),
        quota=Quota(dice.choice((None, None, 1, 3)), dice.choice((None, None, 2, 4))),
        revoke=Revoke(dice.choice((0.0, 5.0, 30.0)), dice.choice(_ASK)),
    )


def _quirks(dice: Random, host: HostSnapshot) -> tuple[Quirk, ...]:
    """Up to two: of two devices, of those of a pattern, below a bridge, or made on a parent."""
    addresses = sorted(str(address) for address in host.devices)
    above = sorted({str(bridge) for d in host.devices.values() for bridge in d.bridges})
    parents = sorted({str(d.parent) for d in host.devices.values() if d.parent is not None})
    quirks = []
    for number in range(dice.choice((0, 0, 1, 2))):
        name, kind = f"q{number}", dice.choice(("two", "pattern", "bridge", "parent"))
        if kind == "bridge" and above:
            quirks.append(Quirk(name, bridge=dice.choice(above)))
        elif kind == "parent" and parents:
            quirks.append(Quirk(name, parent=dice.choice(parents)))
        elif kind == "pattern":
            quirks.append(Quirk(name, (What(address=_pattern(dice.choice(addresses))),)))
        else:
            two = dice.sample(addresses, k=min(2, len(addresses)))
            quirks.append(Quirk(name, tuple(What(address=one, exact=True) for one in two)))
    return tuple(quirks)
