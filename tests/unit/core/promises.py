"""What a policy promises about a grant, worked out from the ten rules of meaning alone: which rule
speaks of whom and of what, what a client will reach, and what that has to be allowed by.

Nothing here asks the code that decides; a mistake would have to be made twice to go unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

from isod.model.address import Address
from isod.model.critical import CriticalFacts
from isod.model.host import Device, HostSnapshot
from isod.model.lease import Lease, LeaseDevice
from isod.model.peer import Peer
from isod.model.policy import Policy, Rule, Who
from isod.model.request import Acquire
from isod.model.step import Bind, GrantNodes, Limit, OpenGroup, OpenIommufd, Unbind
from isod.model.terms import Terms, What

from .books import Books

_SCRUB = ("off", "try", "require")
Devices = Mapping[Address, Device]


def deciding(policy: Policy, peer: Peer, device: Device) -> Rule | None:
    """Meaning 2: the first rule that speaks of both."""
    for rule in policy.rules:
        if not any(_is_meant(who, peer, denies=not rule.allow) for who in rule.who or (Who(),)):
            continue
        if rule.what is None or any(_means(what, device, policy) for what in rule.what):
            return rule
    return None


class Promises:
    """What one grant has to keep: of a lease that is about to begin, on the host as it is."""

    def __init__(self, policy: Policy, host: HostSnapshot, peer: Peer, lease: Lease) -> None:
        self._policy = policy
        self._devices = host.devices
        self._host = host
        self._peer = peer
        self._lease = lease
        self._numbers = {name.number for name in lease.groups}
        self._requested = [d for d in lease.devices if d.why == "requested"]
        self._along = [d for d in lease.devices if d.why == "reset_set"]
        self._rules = [self._allowing(device.address) for device in self._requested]
        self._brought = [(d, rule) for d in self._along if (rule := self._rule_of(d.address))]
        # Those of all that the client reaches: each sets terms, whoever asked for its device.
        self._binding = [rule for a in sorted(self._given()) if (rule := self._rule_of(a))]
        # Exceptions are those of what was asked for, and of what comes along with fds.
        self._excepting = [*self._rules, *(rule for _, rule in self._brought)]

    def check(self, request: Acquire, facts: CriticalFacts) -> None:
        """Everything. Raises AssertionError."""
        self._check_is_what_was_asked(request)
        self._check_all_is_taken_together()
        self._check_whole_set(request)
        self._check_reach()
        self._check_terms(request)
        self._check_drivers()
        self._check_needs(facts)

    def counted(self) -> tuple[tuple[Address, int, str], ...]:
        """The devices that count in a quota: those that were asked for, and what comes along by
        a rule that allows it (not by ``may_take``)."""
        pairs = [*zip(self._requested, self._rules, strict=True), *self._brought]
        return tuple((device.address, device.generation, rule.name) for device, rule in pairs)

    def _allowing(self, address: Address) -> Rule:
        """Meaning 3: each device that was asked for, on its own."""
        rule = self._rule_of(address)
        assert rule is not None, f"no rule allows {address}"
        assert rule.allow, f"{rule.name} denies {address}"
        return rule

    def _rule_of(self, address: Address) -> Rule | None:
        return deciding(self._policy, self._peer, self._devices[address])

    def _check_is_what_was_asked(self, request: Acquire) -> None:
        got = {device.address: device for device in self._requested}
        for wanted in request.named:
            del got[wanted.address]
        for wish in request.pools:
            pool = self._policy.pools[wish.pool]
            for address in [a for a in got if got[a].pool == wish.pool][: wish.count]:
                means = any(_means(w, self._devices[address], self._policy) for w in pool.devices)
                assert means, f"{address} is not in the pool {wish.pool}"
                del got[address]
        assert not got, f"{set(got)} were not asked for"

    def _check_all_is_taken_together(self) -> None:
        """A group goes whole, with all that a quirk does not isolate from it."""
        for together in _together(self._policy, self._host):
            owned = together & self._numbers
            assert not owned or together == owned, f"{together - self._numbers} are left out"
        has = {device.address for device in self._lease.devices}
        left = [d.address for d in self._endpoints() if d.address not in has]
        assert not left, f"{left} of its groups are not in the lease"

    def _check_whole_set(self, request: Acquire) -> None:
        """All that a hot reset hits, if the rule or the client says so, and nothing otherwise."""
        demanded = any(rule.terms.reset == "whole-set" for rule in self._rules)
        if any(terms.reset == "whole-set" for terms in self._terms()):
            assert request.reset != "if-owned", "less than a rule's whole set"
            for address in self._given():
                groups = {self._devices[one].group for one in _hit(self._devices, address)}
                assert groups <= self._numbers, f"a hot reset of {address} hits another group"
        if not demanded and request.reset != "whole-set":
            assert not self._along, "nobody asked for the whole set"
            return
        handed = {device.address for device in (*self._requested, *self._along)}
        for device in self._requested:
            left = _hit(self._devices, device.address) - handed
            assert not left, f"a hot reset of {device.address} hits {left}"

    def _check_reach(self) -> None:
        """Meaning 4 and 5: what the client reaches is allowed; what is parked is not denied."""
        given = self._given()
        along = {device.address for device in self._along}
        assert given >= along | {device.address for device in self._requested}
        for device in self._endpoints():
            rule = self._rule_of(device.address)
            assert rule is None or rule.allow, f"{device.address} is denied by a rule"
            if rule is None and device.address in along:
                may = all(self._may_take(rule.terms, device) for rule in self._rules)
                assert may, f"neither a rule nor may_take lets {device.address} come along"
            elif rule is None:
                assert device.address not in given, f"no rule allows {device.address}"

    def _check_terms(self, request: Acquire) -> None:
        """Meaning 2: terms constrain; and 3: the stricter holds."""
        lease = self._lease
        for terms in self._terms():
            assert lease.hand_over in terms.hand_over, "a hand-over that a rule does not allow"
            assert _SCRUB.index(lease.terms.scrub) >= _SCRUB.index(terms.scrub), "scrubbed less"
            assert lease.terms.revoke.ask <= terms.revoke.ask, "asked for longer"
            for step in lease.plan:
                if isinstance(step, Limit):
                    most = min(terms.memlock or 0, request.memlock or step.soft)
                    assert step.soft <= most, "more memory than a rule allows"
        assert request.hand_over in {None, lease.hand_over}, "another hand-over than asked for"

    def _check_drivers(self) -> None:
        """Meaning 7: what is in use is taken by exact address, or from a driver that is listed."""
        for step in self._lease.plan:
            if not isinstance(step, Bind | Unbind):
                continue
            device = self._devices[step.address]
            assert device.group in self._numbers, f"{step.address} is not of the lease"
            assert isinstance(step, Unbind) or not device.is_bridge
            if not isinstance(step, Unbind):
                continue
            assert step.driver == device.driver
            rule = self._rule_of(step.address)
            exact = rule is not None and rule.allow and _names(rule, device, self._policy)
            own = [rule] if step.address in self._given() else []
            listed = all(
                step.driver in one.terms.take_from for one in (*self._excepting, *own) if one
            )
            assert exact or listed, f"{step.address} is taken from {step.driver}"

    def _check_needs(self, facts: CriticalFacts) -> None:
        """The guard, and the only exception to it."""
        taken = {step.address for step in self._lease.plan if isinstance(step, Unbind)}
        losing = taken | {device.address for device in self._endpoints()}
        touched = losing | {
            address
            for address, device in self._devices.items()
            if (device.group in self._numbers and device.group in self._with_endpoints())
            or not losing.isdisjoint((device.physical_function, *device.bridges))
        }
        for one in self._requested if self._along else ():
            touched |= _hit(self._devices, one.address)
        for address in touched:
            ok = all(str(address) in rule.terms.critical_ok for rule in self._excepting)
            assert ok or not facts.uses_of(address), f"the host needs {address}"

    # --- words of the rules -----------------------------------------------------------------------

    def _terms(self) -> list[Terms]:
        return [rule.terms for rule in self._binding]

    def _may_take(self, terms: Terms, device: Device) -> bool:
        return any(_means(what, device, self._policy) for what in terms.may_take)

    def _endpoints(self) -> list[Device]:
        devices = self._devices.values()
        return [d for d in devices if d.group in self._numbers and not d.is_bridge]

    def _with_endpoints(self) -> set[int | None]:
        return {device.group for device in self._endpoints()}

    def _given(self) -> set[Address]:
        """What the last step gives: by a group, or by its node, all of the group."""
        last = self._lease.plan[-1]
        if isinstance(last, OpenIommufd):
            return set(last.devices)
        assert isinstance(last, OpenGroup | GrantNodes)
        numbers = {name.number for name in last.groups}
        return {device.address for device in self._endpoints() if device.group in numbers}


def check_joined(
    policy: Policy,
    host: HostSnapshot,
    peer: Peer,
    lease: Lease,
    device: LeaseDevice,
    facts: CriticalFacts,
) -> None:
    """What came into a group of a lease is parked as at the grant, or not at all."""
    now = host.devices[device.address]
    rule = deciding(policy, peer, now)
    assert rule is None or rule.allow, f"{device.address} is denied by a rule"
    given = {one.group for one in lease.devices if one.why != "sibling"}
    if lease.hand_over != "iommufd" and device.group in given:
        assert rule is not None, f"no rule allows {device.address}"
        assert lease.hand_over in rule.terms.hand_over, "a hand-over that its rule does not allow"
    if now.driver not in {None, "vfio-pci", "pci-stub"}:
        exact = rule is not None and _names(rule, now, policy)
        assert exact or now.driver in lease.terms.take_from, f"{now} is taken from its driver"
    needed = facts.uses_of(device.address)
    assert not needed or str(device.address) in lease.terms.critical_ok, f"the host needs {now}"


def check_quotas(books: Books) -> None:
    """No user has more under a rule than that allows, nor have all together, and no user more
    leases; what drains counts."""
    mine: Counter[tuple[int, str]] = Counter()
    everybodys: Counter[str] = Counter()
    leases: Counter[int] = Counter()
    for name in books.store:
        record = books.records.get(name)
        if record is None:
            continue
        leases[record.uid] += 1
        for address, generation, rule in record.counted:
            now = books.host.devices.get(address)
            if now is not None and now.generation == generation:
                mine[record.uid, rule] += 1
                everybodys[rule] += 1
    quotas = {rule.name: rule.terms.quota for rule in books.policy.rules}
    for (uid, rule), count in mine.items():
        most = quotas[rule].devices
        assert most is None or count <= most, f"uid {uid} has {count} devices under {rule}"
    for rule, count in everybodys.items():
        most = quotas[rule].total
        assert most is None or count <= most, f"all have {count} devices under {rule}"
    for uid, count in leases.items():
        assert count <= books.policy.limits.leases_per_uid, f"uid {uid} has {count} leases"


def _is_meant(who: Who, peer: Peer, *, denies: bool) -> bool:
    """The keys of one table AND, a key's values OR. What cannot be looked up is denied."""
    assert who.units is who.user_units is who.labels is None, "not drawn here"
    unknown = denies and peer.cgroup is None
    cgroup = (peer.cgroup or "").removeprefix("/")
    return all(
        (
            who.uids is None or any(low <= peer.uid <= high for low, high in who.uids),
            who.gids is None
            or any(low <= g <= high for g in {peer.gid, *peer.groups} for low, high in who.gids),
            who.cgroups is None or unknown or any(fnmatchcase(cgroup, one) for one in who.cgroups),
        )
    )


def _means(what: What, device: Device, policy: Policy) -> bool:
    """The keys of one table AND; a pool's tables OR."""
    address = str(device.address)
    pool = None if what.pool is None else policy.pools[what.pool]
    return all(
        (
            what.address is None
            or (address == what.address if what.exact else fnmatchcase(address, what.address)),
            what.vendor in {None, device.vendor},
            what.device_class is None or device.device_class.startswith(what.device_class),
            pool is None or any(_means(one, device, policy) for one in pool.devices),
        )
    )


def _names(rule: Rule, device: Device, policy: Policy) -> bool:
    """By its exact address."""
    return any(what.exact and _means(what, device, policy) for what in rule.what or ())


def _hit(devices: Devices, address: Address) -> set[Address]:
    """What a hot reset hits: nothing, where no bridge is above (nothing here lies deeper)."""
    buses = {device.secondary_bus for device in devices.values()}
    if address.pci_bus not in buses:
        return set()
    return {other for other in devices if other.pci_bus == address.pci_bus}


def _together(policy: Policy, host: HostSnapshot) -> list[set[int]]:
    """The groups that quirks do not isolate from each other."""
    found: list[set[int]] = []
    for quirk in policy.quirks:
        named = {
            device.group
            for device in host.devices.values()
            if quirk.bridge in [str(bridge) for bridge in device.bridges]
            or (quirk.parent is not None and quirk.parent == str(device.parent))
            or any(_means(what, device, policy) for what in quirk.devices)
        }
        joined = {number for number in named if number is not None}
        for other in [one for one in found if not one.isdisjoint(joined)]:
            found.remove(other)
            joined |= other
        found.append(joined)
    return found
