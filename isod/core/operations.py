"""One operation per reset domain at a time, in the order in which they were asked for.

An operation is what runs steps on devices: a grant's or a re-opening's plan, the way back, and what
binds devices ahead or puts them back.
Waiting for a client (draining, fencing) is none. An operation that meets another one in its
domain is held back here, and comes out when nothing before it is left.
"""

from __future__ import annotations

from collections.abc import Iterator

from isod.model.address import Address
from isod.model.ahead import BindAhead, TakeBack
from isod.model.effect import GiveBack, Prepare
from isod.model.lease import Lease

Operation = Prepare | GiveBack | BindAhead | TakeBack


def domain_of(lease: Lease) -> frozenset[Address]:
    """Everything that shares the fate of a device of the lease. A device that joined it later may
    not be in the domain that was worked out at the grant."""
    return frozenset(lease.domain) | {device.address for device in lease.devices}


def _whose(operation: Operation) -> tuple[str, frozenset[Address]]:
    """The lease, or the device that is kept, and the domain."""
    if isinstance(operation, BindAhead | TakeBack):
        kept = operation.kept
        return str(kept.address), frozenset(kept.domain) | {kept.address}
    return operation.lease.id, domain_of(operation.lease)


class Operations:
    """What runs, by whose it is, and what is held back, oldest first."""

    def __init__(self) -> None:
        self._running: dict[str, frozenset[Address]] = {}
        self._held: list[Operation] = []

    @property
    def held(self) -> tuple[Operation, ...]:
        return tuple(self._held)

    def begin(self, operation: Operation) -> tuple[Operation, ...]:
        """The operation, if it may run at once; else nothing, and it comes out of ``end`` later."""
        self._held.append(operation)
        return tuple(self._admitted())

    def end(self, whose: str) -> tuple[Operation, ...]:
        """The operation of a lease, or of a device's address, has ended: what may run now."""
        self._running.pop(whose, None)
        return tuple(self._admitted())

    def _admitted(self) -> Iterator[Operation]:
        """Whoever came earlier and is held back still counts as well: nobody overtakes it."""
        ahead = set().union(*self._running.values())
        for operation in tuple(self._held):
            whose, domain = _whose(operation)
            if ahead.isdisjoint(domain):
                self._held = [other for other in self._held if other is not operation]
                self._running[whose] = domain
                yield operation
            ahead |= domain
