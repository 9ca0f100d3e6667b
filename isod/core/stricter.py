"""The stricter of several rules' terms, by the published table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from isod.model.reason import Reason, RefusedError
from isod.model.step import Scrub
from isod.model.terms import Quota, Revoke, Terms

Value = TypeVar("Value")
_SCRUB_ORDER: tuple[Scrub, ...] = ("off", "try", "require")


def merge(terms: Sequence[Terms], hint: str | None = None) -> Terms:
    """The stricter of each term. Raises RefusedError ``terms_conflict`` if nothing is left, with
    the ``hint`` or the reason's own.

    ============  =====================================================
    hand_over     what all allow, in the first one's order
    memlock       the smallest; not raised if one does not raise it
    scrub         the strictest of off, try, require
    reset         whole-set if one says so
    take_from     what all list; likewise may_take, critical_ok, anchor
    quota         the smallest
    revoke        kill if one says so, after the shortest time to ask
    ============  =====================================================
    """
    hand_over = _common([t.hand_over for t in terms])
    anchor = _common([t.anchor for t in terms])
    for name, left in (("hand_over", hand_over), ("anchor", anchor)):
        if not left:
            raise RefusedError(
                Reason.terms_conflict,
                f"the rules of these devices allow no common {name}",
                hint=hint,
                term=name,
            )
    limits = [t.memlock for t in terms]
    return Terms(
        hand_over=hand_over,
        memlock=None if None in limits else min(m for m in limits if m is not None),
        scrub=stricter_scrub(*terms),
        reset="whole-set" if any(t.reset == "whole-set" for t in terms) else "if-owned",
        take_from=_common([t.take_from for t in terms]),
        may_take=_common([t.may_take for t in terms]),
        critical_ok=_common([t.critical_ok for t in terms]),
        quota=Quota(
            _smallest([t.quota.devices for t in terms]), _smallest([t.quota.total for t in terms])
        ),
        revoke=Revoke(
            min(t.revoke.ask for t in terms),
            "kill" if any(t.revoke.then == "kill" for t in terms) else "wait",
        ),
        anchor=anchor,
    )


def stricter_scrub(*terms: Terms) -> Scrub:
    """The strictest of these terms' scrubs."""
    return max((t.scrub for t in terms), key=_SCRUB_ORDER.index)


def _common(lists: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
    first, *others = lists
    return tuple(value for value in first if all(value in other for other in others))


def _smallest(limits: Sequence[int | None]) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None
