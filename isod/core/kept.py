"""What waits on vfio-pci: the ledger's book of devices that pools keep bound ahead.

    Keep -> binding --Bound--> waiting --PutBack--> returning --WasPutBack--> (forgotten)
               |                  ^                    |
               '--NotBound--> (forgotten)              '--NotPutBack--> unsure

The row is written before anything is done and goes when the device is as it was, so a crash
leaves a row: *unsure*, which is bound again or put back, whichever the policy wants by then. Both
ways are idempotent. A lease takes a device that waits as it is, on vfio-pci, and puts it back to
that; the row stays meanwhile, and what it says is done when nobody has the device.

Binding and putting back are operations like a grant's: one at a time per reset domain, in order.
So a device may be given out while one is under way; the grant's plan runs behind it, and is made
from what the device will be then (``expected``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from isod.model.address import Address
from isod.model.ahead import (
    AheadEffect,
    AheadEvent,
    BindAhead,
    Bound,
    ForgetKept,
    Keep,
    Kept,
    KeptFound,
    NoLongerKept,
    NotBound,
    NotPutBack,
    PutBack,
    RememberKept,
    TakeBack,
    Tell,
    WasPutBack,
)
from isod.model.effect import GiveBack, Prepare
from isod.model.host import VFIO_PCI, Device, HostSnapshot
from isod.model.step import Bind, Fence, Restore, Step, Unbind

from .operations import Operations

Effects = tuple[AheadEffect | Prepare | GiveBack, ...]


class Shelf:
    """The rows by address. ``is_owned`` tells whether a lease has a group."""

    def __init__(self, operations: Operations, is_owned: Callable[[int], bool]) -> None:
        self._operations = operations
        self._is_owned = is_owned
        self._rows: dict[Address, Kept] = {}
        self._problems: dict[Address, tuple[int, str]] = {}

    def problem(self, device: Device) -> str | None:
        """Why the device could not be bound ahead, or put back, when that was tried last."""
        generation, text = self._problems.get(device.address, (None, None))
        return text if generation == device.generation else None

    def forgive(self) -> None:
        """Another policy holds: what failed under the former one is tried again, or not wanted."""
        self._problems.clear()

    @property
    def rows(self) -> Mapping[Address, Kept]:
        return MappingProxyType(self._rows)

    @property
    def under_way(self) -> tuple[Kept, ...]:
        """Those with an operation that has not ended."""
        return tuple(k for k in self._rows.values() if k.state in {"binding", "returning"})

    def apply(self, event: AheadEvent) -> Effects:
        """Take one event. One that does not fit the row any more was on its way, and is ignored."""
        if isinstance(event, Keep):
            return self._keep(event.kept)
        if isinstance(event, KeptFound):
            self._rows[event.kept.address] = replace(event.kept, state="unsure")
            return ()
        row = self._rows.get(event.address)
        if row is None:
            return ()
        if isinstance(event, PutBack | NoLongerKept):
            return self._let_go(row, event)
        return (*self._ended(row, event), *self._operations.end(str(row.address)))

    def _let_go(self, row: Kept, event: PutBack | NoLongerKept) -> Effects:
        if row.state in {"binding", "returning"}:
            return ()
        if isinstance(event, NoLongerKept):
            return (self._forget(row),)
        if self._is_owned(row.group.number):
            return ()
        self._problems.pop(row.address, None)
        row = self._put(replace(row, state="returning"))
        effect = TakeBack(row, steps_to_take_back(row))
        return (RememberKept(row), *self._operations.begin(effect))

    def _ended(self, row: Kept, event: Bound | NotBound | WasPutBack | NotPutBack) -> Effects:
        """An operation has ended."""
        match event:
            case Bound():
                return (RememberKept(self._put(replace(row, state="waiting"))),)
            case WasPutBack():
                return (self._forget(row),)
            case NotPutBack(refusal=refusal):
                row = self._put(replace(row, state="unsure"))
                return (RememberKept(row), self._tell(row, f"not put back: {refusal.message}"))
        text = f"not bound ahead: {event.refusal.message}"
        if event.stranded is None:
            return (self._forget(row), self._tell(row, text))
        row = self._put(replace(row, state="unsure"))
        text = f"{text}; not put back: {event.stranded.message}"
        return (RememberKept(row), self._tell(row, text))

    def _keep(self, kept: Kept) -> Effects:
        known = self._rows.get(kept.address)
        if self._is_owned(kept.group.number):
            return ()
        if known is not None and known.generation == kept.generation:
            if known.state != "unsure":
                return ()
            # What the device was before it was taken the first time is what it goes back to.
            kept = replace(
                kept,
                former_driver=known.former_driver,
                former_override=known.former_override,
            )
        self._problems.pop(kept.address, None)
        kept = self._put(replace(kept, state="binding"))
        effect = BindAhead(kept, steps_to_bind(kept), steps_to_take_back(kept))
        return (RememberKept(kept), *self._operations.begin(effect))

    def _tell(self, row: Kept, text: str) -> Tell:
        self._problems[row.address] = (row.generation, text)
        return Tell(row, text)

    def _put(self, row: Kept) -> Kept:
        self._rows[row.address] = row
        return row

    def _forget(self, row: Kept) -> ForgetKept:
        del self._rows[row.address]
        return ForgetKept(row)


def steps_to_bind(kept: Kept) -> tuple[Step, ...]:
    """From its former driver to vfio-pci. Done again after a crash they end in the same state."""
    address, generation, driver = kept.address, kept.generation, kept.former_driver
    bind = Bind(address, generation, VFIO_PCI)
    if driver is None:
        return (bind,)
    return (Unbind(address, generation, driver, override=VFIO_PCI), bind)


def steps_to_take_back(kept: Kept) -> tuple[Step, ...]:
    """From vfio-pci to the former driver and override."""
    address, generation = kept.address, kept.generation
    return (
        Fence(address, generation),
        Restore(address, generation, kept.former_driver, kept.former_override),
    )


def expected(snapshot: HostSnapshot, shelf: Shelf) -> HostSnapshot:
    """The host as it will be when every operation that is under way has ended."""
    changed: dict[Address, Device] = {}
    for row in shelf.under_way:
        device = snapshot.devices.get(row.address)
        if device is None or device.generation != row.generation:
            continue
        binding = row.state == "binding"
        changed[row.address] = replace(
            device,
            driver=VFIO_PCI if binding else row.former_driver,
            driver_override=VFIO_PCI if binding else row.former_override,
            unsettled=False,
        )
    if not changed:
        return snapshot
    return replace(snapshot, devices=MappingProxyType({**snapshot.devices, **changed}))
