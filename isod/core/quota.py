"""How much of a rule a user has already: devices asked for, those of draining leases included;
and how many leases there are, and holds of one.

Counted in the ledger, where leases stand over restarts; what lasts as long as a connection is in
``core/accounts.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import TypedDict

from isod.model.lease import Lease
from isod.model.peer import Peer
from isod.model.policy import Limits, Rule
from isod.model.reason import Reason, RefusedError
from isod.model.request import LEASE_HOLDS


def check_quota(
    leases: Iterable[Lease],
    peer: Peer,
    rules: Collection[Rule],
    limits: Limits,
    along: Collection[Rule] = (),
) -> None:
    """See whether one more lease with one device under each of ``rules`` is within the quotas, and
    with what comes along under each of ``along``.

    A rule's ``devices`` counts what this uid has under it, ``total`` what all have; ``[limits]``
    bounds a uid's leases, and those of all. Raises RefusedError.
    """
    wanted = Counter(rule.name for rule in rules)
    brought = Counter(rule.name for rule in along)
    by_name = {rule.name: rule for rule in (*rules, *along)}
    mine: Counter[str] = Counter()
    everybodys: Counter[str] = Counter()
    my_leases = leases_of_all = 0
    for lease in leases:
        names = [device.rule for device in lease.devices if device.rule is not None]
        everybodys.update(names)
        leases_of_all += 1
        if lease.owner.uid == peer.uid:
            mine.update(names)
            my_leases += 1
    if my_leases >= limits.leases_per_uid:
        raise RefusedError(
            Reason.quota, f"you have {my_leases} leases, the most that one user may have"
        )
    if leases_of_all >= limits.leases:
        raise RefusedError(
            Reason.quota,
            f"the machine has {leases_of_all} leases, the most that isod gives",
            hint="end one of yours, or try again later" if my_leases else "try again later",
            fixed_by="you" if my_leases else "the other owners",
        )
    for name, rule in by_name.items():
        quota, count = rule.terms.quota, wanted[name] + brought[name]
        for limit, had, whose in (
            (quota.devices, mine[name], "you have"),
            (quota.total, everybodys[name], "all together have"),
        ):
            if limit is not None and had + count > limit:
                devices = "1 device" if limit == 1 else f"{limit} devices"
                asked = f"{count} more with what comes along" if brought[name] else f"{count} more"
                raise RefusedError(
                    Reason.quota,
                    f"rule {name} allows {devices}: {whose} {had}, asked for {asked}",
                    rule=name,
                    **_remedy(limit, count, mine[name], had - mine[name], brought=name in brought),
                )


class _Remedy(TypedDict, total=False):
    hint: str
    fixed_by: str
    retry: bool


def _remedy(limit: int, count: int, mine: int, others: int, *, brought: bool) -> _Remedy:
    """Who can make ``count`` devices fit a limit, and how: the reason's own remedy is to release
    something. ``mine`` are the asker's, ``others`` all others that count against the limit;
    ``brought``: some of the count nobody asked for."""
    if limit == 0 or (brought and count > limit):
        fewer = ", or ask for fewer devices" if limit else ""
        return _Remedy(
            hint=f"raise the quota of the rule{fewer}", fixed_by="an administrator", retry=False
        )
    if count > limit:
        return _Remedy(hint="ask for fewer devices", retry=False)
    if others + count <= limit:
        return _Remedy()
    later = "try again when others have released something"
    if count > 1 and mine + others < limit:
        return _Remedy(hint=f"ask for fewer devices, or {later}")
    return _Remedy(hint=later, fixed_by="the other owners")


def check_holds(lease: str, held: int) -> None:
    """See whether a lease of which so many holds are open may have one more. Each costs isod a
    file descriptor, and the service manager a place. Raises RefusedError."""
    if held >= LEASE_HOLDS:
        raise RefusedError(
            Reason.quota,
            f"lease {lease} has {held} open holds, the most that it may have",
            hint="close what an earlier open gave",
        )
