"""Who waits for groups, in fair order.

A request that came later never takes a group that an earlier one waits for; what nobody before it
waits for it may take. All groups of a request are taken at once or none, so nobody holds one
thing while waiting for another, and there is no deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket")


@dataclass(frozen=True, slots=True)
class _Waiter(Generic[Ticket]):
    ticket: Ticket
    uid: int
    groups: frozenset[int]


class Queue(Generic[Ticket]):
    """Tickets in the order of their arrival, each with the groups that it needs."""

    def __init__(self) -> None:
        self._waiters: list[_Waiter[Ticket]] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, ticket: object) -> bool:
        return any(waiter.ticket is ticket for waiter in self._waiters)

    def count(self, uid: int) -> int:
        """How many of this user wait."""
        return sum(waiter.uid == uid for waiter in self._waiters)

    def wanted(self) -> frozenset[int]:
        """The groups that somebody waits for: a newcomer that needs one of them waits as well."""
        return frozenset().union(*(waiter.groups for waiter in self._waiters))

    def join(self, ticket: Ticket, uid: int, groups: frozenset[int]) -> None:
        self._waiters.append(_Waiter(ticket, uid, groups))

    def leave(self, ticket: Ticket) -> bool:
        """Take a ticket out; False if it was not there any more."""
        for place, waiter in enumerate(self._waiters):
            if waiter.ticket is ticket:
                del self._waiters[place]
                return True
        return False

    def widen(self, together: Callable[[int], Iterable[int]]) -> None:
        """Groups that were taken one by one go together now: who waits for one waits for all."""
        self._waiters = [
            replace(waiter, groups=frozenset(n for group in waiter.groups for n in together(group)))
            for waiter in self._waiters
        ]

    def ready(self, is_free: Callable[[int], bool]) -> Iterator[Ticket]:
        """Take out, in order, each ticket whose groups are free and wanted by nobody before it.

        Asks ``is_free`` anew for each, so the caller may grant one before it asks for the next.
        """
        reserved: set[int] = set()
        place = 0
        while place < len(self._waiters):
            waiter = self._waiters[place]
            if reserved.isdisjoint(waiter.groups) and all(map(is_free, waiter.groups)):
                del self._waiters[place]
                yield waiter.ticket
            else:
                place += 1
            reserved |= waiter.groups
