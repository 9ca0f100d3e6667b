"""How much of a rule a user has already: devices asked for, those of draining leases included;
and how many leases there are, and holds of one.

Counted in the ledger, where leases stand over restarts; what lasts as long as a connection is in
``core/accounts.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from isod.model.lease import Lease
from isod.model.peer import Peer
from isod.model.policy import Limits, Rule
from isod.model.reason import Reason, RefusedError
from isod.model.request import LEASE_HOLDS


def check_quota(leases: Iterable[Lease], peer: Peer, rules: Iterable[Rule], limits: Limits) -> None:
    """See whether one more lease with one device under each of ``rules`` is within the quotas.

    A rule's ``devices`` counts what this uid has under it, ``total`` what all have; ``[limits]``
    bounds a uid's leases, and those of all. Raises RefusedError.
    """
    wanted = Counter(rule.name for rule in rules)
    by_name = {rule.name: rule for rule in rules}
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
            hint="try again when one has ended",
        )
    for name, count in wanted.items():
        quota = by_name[name].terms.quota
        for limit, had, whose in (
            (quota.devices, mine[name], "you have"),
            (quota.total, everybodys[name], "all together have"),
        ):
            if limit is not None and had + count > limit:
                devices = "1 device" if limit == 1 else f"{limit} devices"
                raise RefusedError(
                    Reason.quota,
                    f"rule {name} allows {devices}: {whose} {had}, asked for {count} more",
                    hint=None if had else "ask for fewer devices",
                    rule=name,
                )


def check_holds(lease: str, held: int) -> None:
    """See whether a lease of which so many holds are open may have one more. Each costs isod a
    file descriptor, and the service manager a place. Raises RefusedError."""
    if held >= LEASE_HOLDS:
        raise RefusedError(
            Reason.quota,
            f"lease {lease} has {held} open holds, the most that it may have",
            hint="close what an earlier open gave",
        )
