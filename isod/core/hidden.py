"""Rules that can never decide, since one earlier rule matches whatever they would match.

Sound, and not complete: what is told is so on every host and for every peer; two earlier rules that
hide a third only together are not noticed, nor are shell patterns compared that differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from isod.model.policy import Policy, Ranges, Rule, Who
from isod.model.terms import What

_EQUAL = ("vendor", "device", "subsystem_vendor", "subsystem_device", "serial")


def hidden_rules(policy: Policy) -> Iterator[tuple[Rule, Rule]]:
    """Each rule that can never decide, with the first earlier one that is in its way."""
    for place, rule in enumerate(policy.rules):
        for earlier in policy.rules[:place]:
            if _covers_who(earlier, rule) and _covers_what(earlier, rule, policy):
                yield rule, earlier
                break


def _covers_who(earlier: Rule, rule: Rule) -> bool:
    if earlier.who is None:
        return True
    if rule.who is None:
        return False
    # A deny is also for peers of whom it is not known where they run; an allow is not.
    wider = [who for who in earlier.who if rule.allow or not earlier.allow or not _is_placed(who)]
    return all(any(_who_within(part, one) for one in wider) for part in rule.who)


def _is_placed(who: Who) -> bool:
    """Whether a table asks where a peer runs."""
    return any(key is not None for key in (who.units, who.user_units, who.cgroups))


def _who_within(part: Who, wider: Who) -> bool:
    """Whether every peer that ``part`` matches is matched by ``wider``."""
    return (
        _ids_within(part.uids, wider.uids)
        and all(
            any(_ids_within(one, wanted) for one in (part.groups, part.gids))
            for wanted in (wider.groups, wider.gids)
        )
        and _words_within(part.units, wider.units)
        and _words_within(part.user_units, wider.user_units)
        and _patterns_within(part.cgroups, wider.cgroups)
        and _patterns_within(part.labels, wider.labels)
    )


def _ids_within(part: Ranges | None, wider: Ranges | None) -> bool:
    if wider is None:
        return True
    if part is None:
        return False
    return all(any(low <= a and b <= high for low, high in wider) for a, b in part)


def _words_within(part: Sequence[str] | None, wider: Sequence[str] | None) -> bool:
    return wider is None or (part is not None and set(part) <= set(wider))


def _patterns_within(part: Sequence[str] | None, wider: Sequence[str] | None) -> bool:
    if wider is None:
        return True
    if part is None:
        return False
    return all(any(_pattern_within(one, other) for other in wider) for one in part)


def _pattern_within(part: str, wider: str) -> bool:
    """Of shell patterns: equal ones, a plain word that matches, or what begins with all that
    stands before a last ``*``."""
    if part == wider:
        return True
    if _is_plain(part):
        return fnmatchcase(part, wider)
    beginning = wider.removesuffix("*")
    return wider.endswith("*") and _is_plain(beginning) and part.startswith(beginning)


def _is_plain(pattern: str) -> bool:
    return not any(letter in pattern for letter in "*?[")


def _covers_what(earlier: Rule, rule: Rule, policy: Policy) -> bool:
    if earlier.what is None:
        # An allow of anything does not reach devices without an IOMMU; a deny does.
        if not earlier.allow:
            return True
        if rule.what is None:
            return rule.allow
        return not any(what.noiommu for what in rule.what)
    if rule.what is None:
        return False
    return all(
        any(_what_within((part,), wider, policy) for wider in earlier.what) for part in rule.what
    )


def _what_within(parts: tuple[What, ...], wider: What, policy: Policy) -> bool:
    """Whether every device that all of ``parts`` match is matched by ``wider``. A pool among them
    stands for each of its tables."""
    for part in parts:
        pool = policy.pools.get(part.pool) if part.pool is not None else None
        if pool is not None and part.pool != wider.pool and len(parts) == 1:
            return all(_what_within((part, table), wider, policy) for table in pool.devices)
    if any(bool(part.noiommu) != bool(wider.noiommu) for part in parts):
        return False
    return (
        (wider.pool is None or _within_pool(parts, wider.pool, policy))
        and all(
            getattr(wider, key) is None
            or any(getattr(part, key) == getattr(wider, key) for part in parts)
            for key in _EQUAL
        )
        and (wider.address is None or any(_address_within(part, wider) for part in parts))
        and (
            wider.device_class is None
            or any((part.device_class or "").startswith(wider.device_class) for part in parts)
        )
        and any(_words_within(part.slots, wider.slots) for part in parts)
        and (
            wider.numa_nodes is None
            or any(
                part.numa_nodes is not None and set(part.numa_nodes) <= set(wider.numa_nodes)
                for part in parts
            )
        )
    )


def _address_within(part: What, wider: What) -> bool:
    if part.address is None or wider.address is None:
        return False
    if wider.exact:
        return part.exact and part.address == wider.address
    return _pattern_within(part.address, wider.address)


def _within_pool(parts: tuple[What, ...], name: str, policy: Policy) -> bool:
    if any(part.pool == name for part in parts):
        return True
    pool = policy.pools.get(name)
    return pool is not None and any(
        table.pool is None and _what_within(parts, table, policy) for table in pool.devices
    )
