"""Makes rules of the tables of a policy file. Name look-ups are the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isod.model.policy import Limits, Pool, Quirk, Ranges, Rule, Who
from isod.model.policy_file import (
    LimitsTable,
    PoolTable,
    QuirkTable,
    RuleTable,
    TermsTable,
    WhatTable,
    WhoTable,
)
from isod.model.terms import Quota, Revoke, Terms, What

# Kind ("user", "group") and name -> id; None: there is no such name.
LookUp = Callable[[str, str], int | None]


def compile_rule(table: RuleTable, file: str, look_up: LookUp) -> Rule:
    who = None
    if table.who != "anyone":
        who = tuple(compile_who(part, look_up) for part in table.who)
    return Rule(
        name=table.name,
        allow=table.effect == "allow",
        who=who,
        what=None if table.what == "anything" else _whats(table.what),
        terms=_terms(table.terms),
        file=file,
    )


def compile_who(table: WhoTable, look_up: LookUp) -> Who:
    return Who(
        uids=_in_both(_named("user", table.user, look_up), _ranges(table.uid)),
        groups=_named("group", table.group, look_up),
        gids=_ranges(table.gid),
        units=_tuple(table.unit),
        user_units=_tuple(table.user_unit),
        cgroups=_tuple(table.cgroup),
        labels=_tuple(table.label),
    )


def compile_pool(table: PoolTable) -> Pool:
    return Pool(table.name, _whats(table.devices), table.bind == "ahead", tuple(table.take_from))


def compile_quirk(table: QuirkTable) -> Quirk:
    return Quirk(table.name, _whats(table.devices or ()), table.bridge, table.parent)


def compile_limits(table: LimitsTable) -> Limits:
    return Limits(
        connections=table.connections,
        connections_per_uid=table.connections_per_uid,
        connects_per_second=table.connects_per_second,
        requests=table.requests,
        requests_per_uid=table.requests_per_uid,
        bytes=table.bytes,
        bytes_per_uid=table.bytes_per_uid,
        unread_fds=table.unread_fds,
        unread_fds_per_uid=table.unread_fds_per_uid,
        leases=table.leases,
        leases_per_uid=table.leases_per_uid,
        waits_per_uid=table.waits_per_uid,
        subscriptions_per_connection=table.subscriptions_per_connection,
        subscriptions_per_uid=table.subscriptions_per_uid,
        unread_events=table.unread_events,
        hello=table.hello,
        read=table.read,
    )


def _whats(tables: Sequence[WhatTable]) -> tuple[What, ...]:
    return tuple(_what(table) for table in tables)


def _what(table: WhatTable) -> What:
    address = table.address
    return What(
        address=address,
        exact=address is not None and not any(letter in address for letter in "*?["),
        vendor=_lower(table.vendor),
        device=_lower(table.device),
        subsystem_vendor=_lower(table.subsystem_vendor),
        subsystem_device=_lower(table.subsystem_device),
        device_class=_lower(table.device_class),
        serial=table.serial,
        slots=_tuple(table.slot),
        numa_nodes=None if table.numa is None else tuple(table.numa),
        pool=table.pool,
        noiommu=table.noiommu,
    )


def _terms(table: TermsTable) -> Terms:
    return Terms(
        hand_over=tuple(table.hand_over),
        memlock=table.memlock,
        scrub=table.scrub,
        reset=table.reset,
        take_from=tuple(table.take_from),
        may_take=_whats(table.may_take),
        critical_ok=tuple(table.critical_ok),
        quota=Quota(table.quota.devices, table.quota.total),
        revoke=Revoke(table.revoke.ask, table.revoke.then),
        anchor=tuple(table.anchor),
    )


def _named(kind: str, names: Sequence[str] | None, look_up: LookUp) -> Ranges | None:
    if names is None:
        return None
    known = (look_up(kind, name) for name in names)
    return tuple((number, number) for number in known if number is not None)


def _ranges(ranges: Sequence[tuple[int, int]] | None) -> Ranges | None:
    return None if ranges is None else tuple(ranges)


def _in_both(some: Ranges | None, others: Ranges | None) -> Ranges | None:
    """The ids that both keys mean; a key that is not there means all."""
    if some is None or others is None:
        return others if some is None else some
    pairs = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return tuple((low, high) for low, high in pairs if low <= high)


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()
