"""Does a rule speak of this peer, and of this device?"""

from __future__ import annotations

from isod.model.host import Device
from isod.model.peer import Peer
from isod.model.policy import Policy, Rule, What, Who


def matches_who(who: Who, peer: Peer) -> bool:
    """All keys that the table has must match; of a key's values one."""
    if who.uids is not None and not _in(who.uids, peer.uid):
        return False
    return who.gids is None or any(_in(who.gids, gid) for gid in (peer.gid, *peer.groups))


def matches_what(what: What, device: Device) -> bool:
    """All keys that the table has must match."""
    if what.exact is not None and what.exact != str(device.address):
        return False
    if what.address is not None and what.address.match(str(device.address)) is None:
        return False
    if what.vendor is not None and what.vendor != device.vendor:
        return False
    if what.device is not None and what.device != device.product:
        return False
    return what.device_class is None or device.device_class.startswith(what.device_class)


def first_match(policy: Policy, peer: Peer, device: Device) -> Rule | None:
    """The rule that decides about this device for this peer; None: no rule, so denied."""
    for rule in policy.rules:
        if rule.who is not None and not any(matches_who(who, peer) for who in rule.who):
            continue
        if rule.what is None or any(matches_what(what, device) for what in rule.what):
            return rule
    return None


def names_exactly(rule: Rule, device: Device) -> bool:
    """Whether the rule names this very address, which permits taking it from any driver."""
    return rule.what is not None and any(
        what.exact == str(device.address) and matches_what(what, device) for what in rule.what
    )


def _in(ranges: tuple[tuple[int, int], ...], number: int) -> bool:
    return any(low <= number <= high for low, high in ranges)
