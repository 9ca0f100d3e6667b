"""The one mutable object: ledger, host and policy. Events come in, effects go out.

Everything here is synchronous, so whoever decides sees one consistent picture; no locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import TypeVar

from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.model.address import Address
from isod.model.ahead import (
    AheadEffect,
    AheadEvent,
    BindAhead,
    ForgetKept,
    RememberKept,
    TakeBack,
    Tell,
)
from isod.model.effect import (
    Announce,
    Effect,
    Forget,
    Freed,
    Quarantine,
    Remember,
    Unquarantine,
)
from isod.model.event import Event, ScrubAgain
from isod.model.host import Device, Group, HostSnapshot
from isod.model.policy import Policy
from isod.model.survey import SurveyedFunction

from .journal import Journal
from .publisher import Publisher
from .store import Store

Key = TypeVar("Key", Address, int)
Value = TypeVar("Value")


class World:
    """What isod knows. Effects that touch kernel or clients go to ``carry_out``; rows of the store
    are written here, before any later effect of the same event."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        snapshot: HostSnapshot,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.journal = journal
        self.publisher = Publisher(journal, store.begin_events(int(clock() * 1_000_000)), clock)
        self._clock = clock
        self.policy = Policy()
        self.ledger = Ledger(store.quarantine.entries(), store.quarantine.unknown)
        self.carry_out: Callable[[Effect], None] = _nobody
        self.carry_out_ahead: Callable[[BindAhead | TakeBack], None] = _nobody
        self.on_free: Callable[[], None] = lambda: None
        self.on_change: list[Callable[[Collection[Address]], None]] = []
        self.on_policy: list[Callable[[], None]] = []
        self.on_news: Callable[[], None] = lambda: None
        self.on_unread: Callable[[Mapping[Address, str]], None] = lambda unread: None
        self._devices: dict[Address, Device] = {}
        self._groups: dict[int, Group] = {}
        self._looks = count(1)
        self._looked: dict[Address | int, int] = {}
        self._survey: Mapping[Address, SurveyedFunction] = MappingProxyType({})
        self.snapshot = snapshot
        self.replace_host(snapshot)
        self._isolation = Isolation(self.snapshot, self.policy)

    @property
    def isolation(self) -> Isolation:
        """Which groups go together, on the present picture under the present policy."""
        known = self._isolation
        if known.snapshot is not self.snapshot or known.policy is not self.policy:
            self._isolation = known = Isolation(self.snapshot, self.policy)
        return known

    def apply(self, event: Event | AheadEvent) -> None:
        """Let the ledger take the event and see to its effects, in order."""
        effects = self._effects(event)
        for effect in effects:
            match effect:
                case Remember(lease=lease):
                    self.store.remember(lease)
                case Forget(lease=lease):
                    self.store.forget(lease.id)
                    self.carry_out(effect)
                case Quarantine(entries=entries):
                    for entry in entries:
                        self.store.quarantine.add(entry)
                        self._tell(entry.address, f"is in quarantine: {entry.why}")
                case Unquarantine(address=address):
                    self.store.quarantine.remove(address)
                    self._tell_cleared(address)
                case RememberKept() | ForgetKept() | BindAhead() | TakeBack() | Tell():
                    self._see_to(effect)
                case Announce(kind=kind, lease=lease, note=note):
                    self.publisher.lease(kind, lease, note)
                case Freed():
                    pass  # whoever waits for the groups is served below
                case _:
                    self.carry_out(effect)
        if any(isinstance(effect, Forget | Unquarantine | Freed) for effect in effects):
            self._scrub_again()
            self.on_free()
        if effects:
            self._changed(self._touched(effects))
            self.on_news()

    def use_policy(self, policy: Policy) -> None:
        """From now on this policy decides; its quirks may join what leases have."""
        self.policy = policy
        self.on_news()
        for listener in self.on_policy:
            listener()

    def _effects(self, event: Event | AheadEvent) -> Sequence[Effect]:
        if isinstance(event, AheadEvent):
            return self.ledger.shelf.apply(event)
        return self.ledger.apply(event, self._clock())

    def _touched(self, effects: Iterable[Effect]) -> set[Address]:
        """The devices that the effects say something new of, with their neighbours."""
        groups: set[int] = set()
        for effect in effects:
            match effect:
                case Remember(lease=lease) | Forget(lease=lease):
                    groups.update(group.number for group in lease.groups)
                case Freed(groups=freed):
                    groups.update(freed)
                case Quarantine(entries=entries):
                    groups |= self.groups_touched(entry.address for entry in entries)
                case Unquarantine(address=None):
                    groups.update(self._groups)
                case Unquarantine(address=Address() as address):
                    groups |= self.groups_touched([address])
        return {one.address for group in groups for one in self.snapshot.members(group)}

    def _scrub_again(self) -> None:
        """What a scrub waits for may have gone."""
        for lease in self.ledger.blocked:
            self.apply(ScrubAgain(lease))

    def _changed(self, addresses: Collection[Address]) -> None:
        for listener in self.on_change:
            listener(addresses)

    def _see_to(self, effect: AheadEffect) -> None:
        """What the ledger wants of a device that is bound ahead."""
        match effect:
            case RememberKept(kept=kept):
                self.store.kept.remember(kept)
            case ForgetKept(kept=kept):
                self.store.kept.forget(kept)
            case BindAhead() | TakeBack():
                self.carry_out_ahead(effect)
            case Tell(kept=kept, text=text):
                address = str(kept.address)
                self.journal.record("device.ahead", f"{address} is {text}", device=address)

    def _tell(self, address: Address, what: str) -> None:
        self.journal.record("device.quarantined", f"{address} {what}", device=str(address))

    def _tell_cleared(self, address: Address | None) -> None:
        if address is not None:
            self._tell(address, "is out of quarantine")
            return
        text = "devices that are not on record are out of quarantine"
        self.journal.record("device.quarantined", text)

    # --- the host -------------------------------------------------------------------------------

    def begin_look(self) -> int:
        """A number for a look at the host, to be drawn right before it; from any thread.

        Looks run beside each other. What one saw counts only until the result of a later one is
        noted, however late it is told itself: a device that was just put back must not appear as
        it was before, or the next lease would take that for its former state.
        """
        return next(self._looks)

    def replace_host(self, snapshot: HostSnapshot, look: int = 0) -> None:
        """A whole new picture, after a rescan."""
        unread = snapshot.unread
        devices: dict[Address, Device | None] = {a: None for a in self._devices if a not in unread}
        groups: dict[int, Group | None] = {n: None for n in self._groups if n not in unread}
        changed = self._take(devices | dict(snapshot.devices), self._devices, look)
        self._take(groups | dict(snapshot.groups), self._groups, look)
        self._refresh(snapshot)
        self._changed(changed)
        if unread:
            self.note_unread(_devices_of(snapshot), look)

    def note(
        self,
        devices: Mapping[Address, Device | None],
        groups: Mapping[int, Group | None],
        look: int,
    ) -> None:
        """Some devices and groups as a look saw them; None: gone."""
        changed = self._take(devices, self._devices, look)
        self._take(groups, self._groups, look)
        self._refresh(self.snapshot)
        self._changed(changed)

    def note_unread(self, unread: Mapping[Address, str], look: int) -> None:
        """Devices that are there, and that a look could not read: the reason of each. What is known
        of them holds, so that none is taken for gone; but nothing is planned on them until a look
        has read them."""
        known = (self._devices.get(address) for address in unread)
        unsettled = {one.address: replace(one, unsettled=True) for one in known if one is not None}
        self.note(unsettled, {}, look)
        self.on_unread(unread)

    def note_survey(self, functions: Iterable[SurveyedFunction]) -> None:
        """What config space said when it was last read, instead of all that was known of it."""
        self._survey = MappingProxyType({one.address: one for one in functions})
        self._refresh(self.snapshot)

    def _take(
        self, seen: Mapping[Key, Value | None], known: dict[Key, Value], look: int
    ) -> set[Key]:
        """Take in what was seen; which of it is different from what was known."""
        changed: set[Key] = set()
        for name, value in seen.items():
            if self._looked.get(name, 0) > look:
                continue
            self._looked[name] = look
            if known.get(name) != value:
                changed.add(name)
            if value is None:
                known.pop(name, None)
            else:
                known[name] = value
        return changed

    def _refresh(self, base: HostSnapshot) -> None:
        # The picture is a view: copying 10,000 devices for each uevent would cost more than the
        # event. It is consistent for whoever does not wait while looking, and nobody does.
        self.snapshot = replace(
            base,
            sequence=self.snapshot.sequence + 1,
            devices=MappingProxyType(self._devices),
            groups=MappingProxyType(self._groups),
            survey=self._survey,
        )
        self._scrub_again()
        self.on_news()

    def groups_touched(self, addresses: Iterable[Address]) -> frozenset[int]:
        """The groups that these devices are known to be in, to be looked at with them."""
        known = (self._devices.get(address) for address in addresses)
        return frozenset(d.group for d in known if d is not None and d.group is not None)


def _devices_of(snapshot: HostSnapshot) -> dict[Address, str]:
    """What could not be read as devices to look at again: of a group those that are in it."""
    unread = {one: why for one, why in snapshot.unread.items() if isinstance(one, Address)}
    for device in snapshot.devices.values():
        if device.group is not None and device.group in snapshot.unread:
            unread.setdefault(device.address, snapshot.unread[device.group])
    return unread


def _nobody(effect: Effect) -> None:
    raise RuntimeError(f"nobody carries out {type(effect).__name__}")
