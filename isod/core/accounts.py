"""What clients cost isod while they are connected: one book for everything.

Whoever takes something charges it first, at the place where it is taken, to the account of its
connection, and gives it back there. A charge that would pass a line of ``[limits]`` is refused, and
nothing is charged. What is still charged when an account closes is given back then.

Leases and devices outlive connections, and isod itself: they are counted where they stand, in the
ledger, draining ones included (``core/quota.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from isod.model.policy import Limits
from isod.model.reason import Reason, Refusal, RefusedError


class Resource(StrEnum):
    """What is charged, in the words of a refusal."""

    connections = "connections"
    admin_connections = "connections to the admin socket"  # apart: one socket cannot fill the other
    requests = "requests under way"
    bytes = "bytes of requests under way and of answers and events that wait"
    unread_fds = "file descriptors that wait to be read"
    waits = "requests waiting for devices"
    subscriptions = "subscriptions"


FEW = 2


@dataclass(frozen=True, slots=True)
class _Line:
    """What one of ``whose`` may have at the most; None: as much as the others leave. The last
    ``kept`` of what everybody may have are for users who have less than ``FEW``: so those who have
    much leave something to whoever comes next, however many they are."""

    connection: Callable[[Limits], int] | None
    user: Callable[[Limits], int] | None
    everybody: Callable[[Limits], int] | None
    hint: str
    kept: Callable[[Limits], int] = lambda _: 0

    def of_everybody(self, had: int) -> Callable[[Limits], int] | None:
        """What all may have together where a user who has so much asks for more."""
        everybody = self.everybody
        if everybody is None or had < FEW:
            return everybody
        return lambda limits: everybody(limits) - self.kept(limits)


_CONNECTIONS = _Line(
    None,
    lambda limits: limits.connections_per_uid,
    lambda limits: limits.connections,
    "close one first",
    kept=lambda limits: limits.connections // 8,
)
_LINES: Mapping[Resource, _Line] = MappingProxyType(
    {
        Resource.connections: _CONNECTIONS,
        Resource.admin_connections: _CONNECTIONS,
        Resource.requests: _Line(
            lambda limits: limits.requests,
            lambda limits: limits.requests_per_uid,
            None,
            "wait for an answer first",
        ),
        Resource.bytes: _Line(
            lambda limits: limits.bytes,
            lambda limits: limits.bytes_per_uid,
            None,
            "read what was sent to you first",
        ),
        Resource.unread_fds: _Line(
            lambda limits: limits.unread_fds,
            lambda limits: limits.unread_fds_per_uid,
            None,
            "read the answers with file descriptors first",
        ),
        Resource.waits: _Line(
            None, lambda limits: limits.waits_per_uid, None, "wait for one of them first"
        ),
        Resource.subscriptions: _Line(
            lambda limits: limits.subscriptions_per_connection,
            lambda limits: limits.subscriptions_per_uid,
            None,
            "end one with events.unsubscribe",
        ),
    }
)


class Accounts:
    """The book. ``limits`` are those of the policy in force: a new one holds at once, and takes
    nothing away from who has more."""

    def __init__(self, limits: Callable[[], Limits]) -> None:
        self.limits = limits
        self._of_uid: dict[int, Counter[Resource]] = {}
        self._of_all: Counter[Resource] = Counter()

    def open(self, uid: int, *, admin: bool = False) -> Account:
        """The account of one more connection. Raises RefusedError."""
        account = Account(self, uid)
        account.charge(Resource.admin_connections if admin else Resource.connections)
        return account

    def of_uid(self, uid: int, resource: Resource) -> int:
        """What a user has of a resource."""
        return self._of_uid.get(uid, Counter[Resource]())[resource]

    def of_all(self, resource: Resource) -> int:
        """What all have of it together."""
        return self._of_all[resource]

    def add(self, uid: int, resource: Resource, amount: int) -> None:
        """Called by accounts alone."""
        self._of_all[resource] += amount
        of_uid = self._of_uid.setdefault(uid, Counter())
        of_uid[resource] += amount
        if not of_uid[resource]:
            del of_uid[resource]
        if not of_uid:
            del self._of_uid[uid]


class Account:
    """What one connection has."""

    def __init__(self, book: Accounts, uid: int) -> None:
        self._book = book
        self._uid = uid
        self._has: Counter[Resource] = Counter()

    def has(self, resource: Resource) -> int:
        return self._has[resource]

    def refusal(self, resource: Resource, amount: int = 1) -> Refusal | None:
        """Why so much more cannot be charged; None: it can."""
        limits, line, book = self._book.limits(), _LINES[resource], self._book
        users = book.of_uid(self._uid, resource)
        everybody = line.of_everybody(users)
        for most, had, subject, whom in (
            (line.connection, self.has(resource), "this connection has", "one connection may have"),
            (line.user, users, "you have", "one user may have"),
            (everybody, book.of_all(resource), "there are", "isod takes"),
        ):
            if most is None or had + amount <= most(limits):
                continue
            text = f"{subject} {had} {resource}, the most that {whom}"
            if had < most(limits):
                text = f"{subject} {had} {resource}; {most(limits)} are the most that {whom}"
            hint = "try again when somebody has left" if most is everybody else line.hint
            return Refusal(Reason.quota, text, {}, hint)
        return None

    def charge(self, resource: Resource, amount: int = 1) -> None:
        """Take so much more. Raises RefusedError, and charges nothing."""
        refusal = self.refusal(resource, amount)
        if refusal is not None:
            raise RefusedError(refusal.reason, refusal.message, hint=refusal.hint)
        self._has[resource] += amount
        self._book.add(self._uid, resource, amount)

    def discharge(self, resource: Resource, amount: int = 1) -> None:
        """Give so much back."""
        if amount > self._has[resource]:
            raise ValueError(f"{amount} {resource} given back of {self._has[resource]}")
        self._has[resource] -= amount
        self._book.add(self._uid, resource, -amount)

    @contextmanager
    def charged(self, resource: Resource, amount: int = 1) -> Iterator[None]:
        """Have so much for as long as the context lasts. Raises RefusedError."""
        self.charge(resource, amount)
        try:
            yield
        finally:
            self.discharge(resource, amount)

    def close(self) -> None:
        """The connection is gone, with all that it has."""
        for resource, amount in self._has.items():
            self._book.add(self._uid, resource, -amount)
        self._has.clear()


def unlimited() -> Account:
    """An account beside the book, for whoever is no client: isod itself."""
    return Account(Accounts(Limits), 0)
