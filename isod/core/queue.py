"""Who waits for groups, in fair order.

A request that came later never takes a group that an earlier one waits for; what nobody before it
waits for it may take. All groups of a request are taken at once or none, so nobody holds one
thing while waiting for another, and there is no deadlock.

What a request needs may change while it waits: a pool has other members free, another policy joins
other groups. So the queue keeps the order alone and asks anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket")
Groups = frozenset[int]


@dataclass(frozen=True, slots=True)
class Wants:
    """What a waiting request keeps from those behind it; ``ready``: it could go now."""

    groups: Groups
    ready: bool = False


class Queue(Generic[Ticket]):
    """Tickets in the order of their arrival. ``wants`` says what one wants, given the groups that
    those before it want."""

    def __init__(self, wants: Callable[[Ticket, Groups], Wants]) -> None:
        self._wants = wants
        self._waiters: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, ticket: object) -> bool:
        return any(waiter is ticket for waiter in self._waiters)

    def wanted(self) -> Groups:
        """The groups that somebody waits for: a newcomer that needs one of them waits as well."""
        wanted: Groups = frozenset()
        for waiter in self._waiters:
            wanted |= self._wants(waiter, wanted).groups
        return wanted

    def join(self, ticket: Ticket) -> None:
        self._waiters.append(ticket)

    def leave(self, ticket: Ticket) -> bool:
        """Take a ticket out; False if it was not there any more."""
        for place, waiter in enumerate(self._waiters):
            if waiter is ticket:
                del self._waiters[place]
                return True
        return False

    def ready(self) -> Iterator[tuple[Ticket, Groups]]:
        """Take out, in order, each ticket that can go, with the groups that those before it want.

        Asks anew for each, so the caller grants one before it asks for the next.
        """
        wanted: Groups = frozenset()
        place = 0
        while place < len(self._waiters):
            ticket = self._waiters[place]
            wants = self._wants(ticket, wanted)
            if wants.ready:
                del self._waiters[place]
                yield ticket, wanted
            else:
                place += 1
                wanted |= wants.groups
