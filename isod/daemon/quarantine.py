"""What isod makes at its start of the quarantines that it finds on record."""

from __future__ import annotations

from isod.core.consider import UNKNOWN_HINT
from isod.model.event import Quarantined
from isod.model.quarantine import QuarantineEntry

from .store import Store
from .world import World

_KIND = "device.quarantined"


def take_up_quarantine(world: World, store: Store) -> None:
    """All of what follows, once at a start."""
    carry_groups_over(world, store)
    record_damage(world)
    record_exchanged(world)


def carry_groups_over(world: World, store: Store) -> None:
    """Former versions put IOMMU groups in quarantine, by number: their members are from now on.

    A group that is not there now keeps its row, so that the next start looks for it again.
    """
    for number, why in store.groups_quarantined().items():
        members = [device for device in world.snapshot.members(number) if not device.is_bridge]
        if not members:
            world.journal.record(
                _KIND, f"group {number} was in quarantine and is not there: {why}", group=number
            )
            continue
        for device in members:
            if device.address not in world.ledger.quarantined:
                entry = QuarantineEntry.of(device, why)
                world.apply(Quarantined(entry))
        store.carried_over(number)


def record_damage(world: World) -> None:
    """Tell what of the record could not be read, and whom that keeps from what."""
    for text in world.store.quarantine.damage:
        world.journal.record(_KIND, f"the record of quarantine: {text}")
    if world.ledger.unknown is not None:
        text = f"every device is in quarantine: {world.ledger.unknown}; {UNKNOWN_HINT}"
        world.journal.record(_KIND, text)


def record_exchanged(world: World) -> None:
    """Tell of quarantined addresses where another kind of device is found, or none."""
    for address, entry in world.ledger.quarantined.items():
        device = world.snapshot.devices.get(address)
        there = entry.compared_with(device)
        if there == "another" and device is not None:
            was, now = f"{entry.vendor}:{entry.product}", f"{device.vendor}:{device.product}"
            text = f"{address} was quarantined as {was} and is {now} now; it stays in quarantine"
            world.journal.record(_KIND, text, device=str(address))
        elif there == "none":
            text = f"{address} is in quarantine and not there"
            world.journal.record(_KIND, text, device=str(address))
