"""Sees what has become different, and has it told: devices, as host.devices shows them, and the
answers of leases to hot resets.

Many changes come at once (a bind alone is several news of the kernel), so they are looked at
together, a moment later. What an answer is compared with is noted at once, at the grant: its owner
is told that very answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from isod.core.view import device_state
from isod.model.address import Address
from isod.model.host import Device, HostSnapshot
from isod.model.lease import Lease, LeaseDevice
from isod.model.reset import LeaseReset

from .resets import Resets
from .world import World

PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Shown:
    """A device as it was told last."""

    device: Device
    state: str

    @property
    def _facts(self) -> tuple[object, ...]:
        return (self.device.driver, self.device.group, self.state)

    def differs(self, other: _Shown) -> bool:
        return self._facts != other._facts


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer as it was told last, and what it was made from."""

    snapshot: HostSnapshot
    devices: tuple[LeaseDevice, ...]
    answer: LeaseReset


class Observer:
    """Begins with the world as it is, of which it tells nothing."""

    def __init__(self, world: World, resets: Resets) -> None:
        self._world = world
        self._resets = resets
        self._devices = {
            address: self._show(one) for address, one in world.snapshot.devices.items()
        }
        self._answers: dict[str, _Answered] = {}
        self._changed: set[Address] = set()
        self._news = trio.Event()
        world.on_change.append(self.note)

    def note(self, changed: Iterable[Address]) -> None:
        """These devices, or the leases that they are in, may be different now."""
        self._changed.update(changed)
        for lease in self._leased():
            if lease.id not in self._answers:
                self._answers[lease.id] = self._answer(lease)
        self._news.set()

    async def run(self) -> None:
        """Tell what is different, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            self._tell_devices()
            self._tell_answers()
            await trio.sleep(PAUSE_SECONDS)

    # --- devices --------------------------------------------------------------------------------

    def _tell_devices(self) -> None:
        changed, self._changed = self._changed, set()
        for address in sorted(changed):
            device = self._world.snapshot.devices.get(address)
            before = self._devices.pop(address, None)
            now = None if device is None else self._show(device)
            if now is not None:
                self._devices[address] = now
            self._tell_device(before, now)

    def _tell_device(self, before: _Shown | None, now: _Shown | None) -> None:
        tell = self._world.publisher.device
        another = before is None or now is None or before.device.generation != now.device.generation
        if before is not None and another:
            tell("device.removed", before.device, None)
        if now is not None and another:
            tell("device.added", now.device, now.state)
        elif before is not None and now is not None and before.differs(now):
            tell("device.changed", now.device, now.state)

    def _show(self, device: Device) -> _Shown:
        return _Shown(device, device_state(device, self._world.snapshot, self._world.ledger))

    # --- answers --------------------------------------------------------------------------------

    def _tell_answers(self) -> None:
        leased = {lease.id: lease for lease in self._leased()}
        self._answers = {name: one for name, one in self._answers.items() if name in leased}
        for name, lease in leased.items():
            before = self._answers[name]
            if before.snapshot is self._world.snapshot and before.devices is lease.devices:
                continue
            now = self._answers[name] = self._answer(lease)
            if now.answer != before.answer:
                note = now.answer.hot.replace("_", " ")
                words = now.answer.when or now.answer.why
                note = f"{note}: {words}" if words else note
                self._world.publisher.lease("lease.reset_changed", lease, note, now.answer)

    def _answer(self, lease: Lease) -> _Answered:
        return _Answered(self._world.snapshot, lease.devices, self._resets.of_lease(lease))

    def _leased(self) -> list[Lease]:
        leases = self._world.ledger.leases.values()
        return [lease for lease in leases if lease.state.public == "leased"]
