"""After a start: rows of the store and what the service manager kept, brought together.

A lease that was handed over and whose hold came back goes on as if nothing had been, and so does
one that is anchored otherwise: a cgroup is looked at again. A row without its hold means that the
owner went meanwhile (the service manager drops a hold that hangs up): its lease drains, which is
no fault. A hold without a row belongs to a grant that nobody got.

What cannot be read is never guessed: the devices that it names are put in quarantine, and if it
names none, every device that sits on a vfio driver and that no readable row explains.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

from isod.model.address import Address, BadAddressError
from isod.model.event import Quarantined, Recovered
from isod.model.quarantine import QuarantineEntry

from . import service
from .deliveries import Deliveries
from .kept_store import KeptRows
from .peers import Peers
from .rows import UnreadableRow
from .service import Handed
from .world import World


def recover(
    world: World, deliveries: Deliveries, peers: Peers, handed: Handed, ahead: KeptRows
) -> None:
    """Take the leases up again. ``ahead`` is what is bound ahead, by its own rows."""
    leases, unreadable = world.store.leases()
    explained = {device.address for lease in leases for device in lease.devices}
    explained |= {kept.address for kept in ahead[0]}
    _distrust_kept(world, explained, ahead[1])
    _distrust(world, explained, unreadable)
    for lease in leases:
        kept = handed.holds.pop(lease.id, [])
        peers.recover(lease)
        goes_on = deliveries.recover(lease, kept)
        if not goes_on:
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


def _distrust(
    world: World, explained: AbstractSet[Address], unreadable: Sequence[UnreadableRow]
) -> None:
    """Quarantine what unreadable records may be about, then believe these no more. ``explained``
    are the devices that readable ones name."""
    if world.store.damage is not None:
        world.journal.record("daemon", f"the leases cannot be read: {world.store.damage}")
        _quarantine(world, _on_vfio(world) - explained, "the leases could not be read at a start")
    for row in unreadable:
        world.journal.record("daemon", f"lease {row.name} cannot be read: {row.why}")
        devices = frozenset(a for a in world.snapshot.devices if a.name in row.body)
        why = f"the record of lease {row.name} could not be read"
        _quarantine(world, (devices or _on_vfio(world)) - explained, why)
        world.store.set_aside(row)


def _distrust_kept(
    world: World, explained: AbstractSet[Address], unreadable: Sequence[UnreadableRow]
) -> None:
    """A device that was bound ahead, and from which driver cannot be read: nobody can put it back,
    and the next lease would take vfio-pci for what it was before."""
    for row in unreadable:
        text = f"{row.name} was bound ahead, and from what it was cannot be read: {row.why}"
        world.journal.record("device.ahead", text, device=row.name)
        named = {a for a in world.snapshot.devices if a.name in row.body} - explained
        with suppress(BadAddressError):
            named.add(Address.parse(row.name))
        why = "it was bound ahead, and the record of what driver it had before could not be read"
        _quarantine(world, frozenset(named or _on_vfio(world) - explained), why)
        world.store.kept.set_aside(row)


def _on_vfio(world: World) -> frozenset[Address]:
    return frozenset(d.address for d in world.snapshot.devices.values() if d.on_vfio)


def _quarantine(world: World, addresses: frozenset[Address], why: str) -> None:
    for address in sorted(addresses - world.ledger.quarantined.keys()):
        device = world.snapshot.devices.get(address)
        entry = QuarantineEntry(address, why) if device is None else QuarantineEntry.of(device, why)
        world.apply(Quarantined(entry))
