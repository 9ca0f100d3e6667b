"""Does a rule speak of this peer, and of this device?"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from isod.model.host import Device
from isod.model.peer import Peer
from isod.model.policy import Policy, Ranges, Rule, Who
from isod.model.terms import What


def matches_who(who: Who, peer: Peer, *, denies: bool = False) -> bool:
    """All keys that the table has must match; of a key's values one.

    Where a peer runs may be unknown: its process was gone before it could be looked up, or the
    kernel cannot name it safely. That matches no rule that allows, and every rule that denies:
    otherwise whoever passes its connection on and ends would slip through the latter.
    """
    unknown = denies and peer.cgroup is None
    if who.uids is not None and not _in(who.uids, peer.uid):
        return False
    for wanted in (who.groups, who.gids):
        if wanted is not None and not any(_in(wanted, g) for g in (peer.gid, *peer.groups)):
            return False
    if not (unknown and peer.unit is None):
        if who.units is not None and peer.unit not in who.units:
            return False
        if who.user_units is not None and peer.user_unit not in who.user_units:
            return False
    cgroup = (peer.cgroup or "").lstrip("/")
    if who.cgroups is not None and not unknown and not _like(who.cgroups, cgroup):
        return False
    return who.labels is None or _like(who.labels, peer.label or "")


def matches_what(what: What, device: Device, policy: Policy) -> bool:
    """All keys that the table has must match. A device without an IOMMU only if asked for."""
    if (device.group is None) != bool(what.noiommu):
        return False
    return (
        (what.address is None or _address_matches(what, str(device.address)))
        and (what.device_class is None or device.device_class.startswith(what.device_class))
        and (what.slots is None or device.slot in what.slots)
        and (what.numa_nodes is None or device.numa_node in what.numa_nodes)
        and (what.pool is None or in_pool(policy, what.pool, device))
        and all(
            wanted is None or wanted == found
            for wanted, found in (
                (what.vendor, device.vendor),
                (what.device, device.product),
                (what.subsystem_vendor, device.subsystem_vendor),
                (what.subsystem_device, device.subsystem_product),
                (what.serial, device.serial),
            )
        )
    )


def in_pool(policy: Policy, name: str, device: Device) -> bool:
    """Whether a device belongs to a pool. Pools do not nest (the loader refuses it)."""
    pool = policy.pools.get(name)
    return pool is not None and any(matches_what(what, device, policy) for what in pool.devices)


def rule_matches_peer(rule: Rule, peer: Peer) -> bool:
    return rule.who is None or any(
        matches_who(who, peer, denies=not rule.allow) for who in rule.who
    )


def first_match(policy: Policy, peer: Peer, device: Device) -> Rule | None:
    """The rule that decides about this device for this peer; None: no rule, so denied.

    ``anything`` does not reach devices without an IOMMU: these a rule must name with ``noiommu``.
    """
    for rule in policy.rules:
        if not rule_matches_peer(rule, peer):
            continue
        if rule.what is None:
            if device.group is not None or not rule.allow:
                return rule
        elif any(matches_what(what, device, policy) for what in rule.what):
            return rule
    return None


def names_exactly(rule: Rule, device: Device, policy: Policy) -> bool:
    """Whether the rule names this very address, which permits taking it from any driver."""
    return rule.what is not None and any(
        what.exact and matches_what(what, device, policy) for what in rule.what
    )


def administers(policy: Policy, peer: Peer, roots: Collection[int]) -> bool:
    """Whether a peer of the admin socket may use it: root (``roots``) may always."""
    return peer.admin and (
        peer.uid in roots or any(matches_who(who, peer) for who in policy.admins)
    )


def _address_matches(what: What, address: str) -> bool:
    assert what.address is not None
    return address == what.address if what.exact else fnmatchcase(address, what.address)


def _in(ranges: Ranges, number: int) -> bool:
    return any(low <= number <= high for low, high in ranges)


def _like(patterns: tuple[str, ...], text: str) -> bool:
    return bool(text) and any(fnmatchcase(text, pattern) for pattern in patterns)
