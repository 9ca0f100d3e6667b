"""RLIMIT_MEMLOCK of a process that has several leases: what it is at the end what it was before.

Limits are (soft, hard) in bytes; -1 is unlimited, as in Python's ``resource``.
"""

from __future__ import annotations

from collections.abc import Iterable

from isod.model.lease import Lease

Limit = tuple[int, int]


def before(lease: Lease, leases: Iterable[Lease]) -> Limit | None:
    """What the process had before any lease raised it: a second lease found it raised. None:
    this lease raises nothing."""
    limit = lease.former_limit
    if limit is not None:
        for other in _of_same_process(lease, leases):
            limit = _lower(limit, other.former_limit or limit)
    return limit


def after(lease: Lease, leases: Iterable[Lease]) -> Limit | None:
    """The limit of the owner's process once this lease is gone: what it had before, or more if
    its other leases need that."""
    limit = lease.former_limit
    if limit is not None:
        for other in _of_same_process(lease, leases):
            if other.ending is None:
                needed = other.terms.memlock or 0
                limit = _higher(limit, (needed, needed))
    return limit


def _of_same_process(lease: Lease, leases: Iterable[Lease]) -> list[Lease]:
    process = (lease.owner.pid, lease.owner.started)
    return [
        other
        for other in leases
        if other.id != lease.id
        and other.former_limit is not None
        and (other.owner.pid, other.owner.started) == process
    ]


def _higher(one: Limit, other: Limit) -> Limit:
    return max(one[0], other[0], key=_bytes), max(one[1], other[1], key=_bytes)


def _lower(one: Limit, other: Limit) -> Limit:
    return min(one[0], other[0], key=_bytes), min(one[1], other[1], key=_bytes)


def _bytes(limit: int) -> float:
    return float("inf") if limit < 0 else limit  # RLIM_INFINITY is -1 in Python
