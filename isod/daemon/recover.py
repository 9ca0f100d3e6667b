"""After a start: rows of the store and what the service manager kept, brought together.

A lease that was handed over and whose hold came back goes on as if nothing had been. A row without
its hold means that the owner went meanwhile (the service manager drops a hold that hangs up): its
lease drains, which is no fault. A hold without a row belongs to a grant that nobody got.
"""

from __future__ import annotations

import os

from isod.model.event import Recovered
from isod.model.lease import State

from . import service
from .holds import Holds
from .service import Handed
from .world import World

_ALIVE = frozenset({State.leased, State.reopening})


def recover(world: World, holds: Holds, handed: Handed) -> None:
    """Take the leases up again. Raises StoreError for rows that cannot be read."""
    for lease in world.store.leases():
        kept = handed.holds.pop(lease.id, [])
        goes_on = bool(kept) and lease.state in _ALIVE and lease.ending is None
        if goes_on:
            holds.adopt(lease.id, kept)
        else:
            _discard(lease.id, kept)
        world.apply(Recovered(lease, held=goes_on))
    for name, kept in handed.holds.items():
        world.journal.record("daemon", f"a hold of {name} was kept, and there is no such lease")
        _discard(name, kept)
    handed.holds.clear()
    for name in handed.unknown:
        world.journal.record("daemon", f"the service manager kept {name}, which nobody knows")
        service.discard(name)


def _discard(lease: str, kept: list[int]) -> None:
    for descriptor in kept:
        os.close(descriptor)
    if kept:
        service.discard_hold(lease)
