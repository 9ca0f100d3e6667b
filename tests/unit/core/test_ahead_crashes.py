"""Binding ahead under crashes, failures and changing policies: nothing is ever stranded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import pytest

from isod.core.ahead import Looks, due, looks
from isod.core.consider import Bench
from isod.core.ledger import Ledger
from isod.core.reset_set import ResetSets
from isod.model.address import Address
from isod.model.ahead import (
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
    WasPutBack,
)
from isod.model.critical import CriticalFacts
from isod.model.effect import Effect
from isod.model.host import VFIO_PCI, HostSnapshot
from isod.model.policy import Policy, Pool
from isod.model.reason import Reason, Refusal
from isod.model.step import Bind, Fence, Restore, Step, Unbind
from isod.model.terms import What

from .build import device, host

BEFORE = host(
    device("01:00.0", 1, "nouveau", vendor="10de"),
    device("02:00.0", 2, None, vendor="10de", driver_override="none"),
    device("03:00.0", 3, "nouveau", vendor="10de"),
    device("03:00.1", 3, "snd_hda_intel", vendor="10de"),
    device("04:00.0", 4, "vfio-pci", vendor="10de", driver_override="vfio-pci"),
)
POOL = Pool("gpus", (What(vendor="10de"),), True, ("nouveau", "snd_hda_intel"))
WITH, WITHOUT = Policy((), 1, pools={"gpus": POOL}), Policy((), 2)
FAILED = Refusal(Reason.kernel, "injected", {})


@dataclass
class Daemon:
    """Carries out what the ledger wants, step by step, and dies whenever it is told to."""

    dice: Random
    host: HostSnapshot = BEFORE
    policy: Policy = WITH
    ledger: Ledger = field(default_factory=Ledger)
    rows: dict[Address, Kept] = field(default_factory=dict)
    under_way: list[BindAhead | TakeBack] = field(default_factory=list)
    left_alone: dict[Address, Looks] = field(default_factory=dict)

    def look(self) -> None:
        bench = Bench(self.policy, ResetSets(self.host), self.ledger, CriticalFacts())
        found = due(bench, self.left_alone)
        for address in found.forget:
            self.apply(NoLongerKept(address))
        for address in found.put_back:
            self.apply(PutBack(address))
        for kept in found.keep:
            self.apply(Keep(kept))

    def apply(self, event: AheadEvent) -> None:
        for effect in self.ledger.shelf.apply(event):
            self._take(effect)

    def _take(self, effect: Effect) -> None:
        match effect:
            case RememberKept(kept=kept):
                self.rows[kept.address] = kept
            case ForgetKept(kept=kept):
                del self.rows[kept.address]
            case BindAhead() | TakeBack():
                self.under_way.append(effect)

    def operate(self, *, fails: bool = False, dies: bool = False) -> None:
        """One operation: to its end, or to a step that fails, or that the daemon dies behind."""
        if not self.under_way:
            return
        effect = self.under_way.pop(self.dice.randrange(len(self.under_way)))
        address = effect.kept.address
        done = self.dice.randint(0, len(effect.steps)) if fails or dies else len(effect.steps)
        for step in effect.steps[:done]:
            self.run(step)
        if dies:
            self.die()
        elif isinstance(effect, BindAhead):
            if fails:
                for step in effect.back:
                    self.run(step)
                self._leave_alone(address)
            self.apply(NotBound(address, FAILED) if fails else Bound(address))
        elif fails:
            self._leave_alone(address)
            self.apply(NotPutBack(address, FAILED))
        else:
            self.apply(WasPutBack(address))

    def _leave_alone(self, address: Address) -> None:
        self.left_alone[address] = looks(self.host.devices[address])

    def die(self) -> None:
        self.under_way.clear()
        self.left_alone.clear()
        self.ledger = Ledger()
        for kept in list(self.rows.values()):
            self.apply(KeptFound(kept))

    def load(self, policy: Policy) -> None:
        self.policy = policy
        self.left_alone.clear()

    def run(self, step: Step) -> None:
        """The kernel's part."""
        assert isinstance(step, Bind | Unbind | Fence | Restore)
        known = self.host.devices[step.address]
        assert step.address in self.rows, "an act without a row"
        match step:
            case Unbind():
                assert known.driver in {None, step.driver, VFIO_PCI}
                driver = known.driver if known.driver == VFIO_PCI else None
                known = replace(known, driver=driver, driver_override=VFIO_PCI)
            case Bind():
                known = replace(known, driver=VFIO_PCI, driver_override=VFIO_PCI)
            case Fence():
                known = replace(known, driver=None if known.on_vfio else known.driver)
            case Restore():
                known = replace(known, driver=step.driver, driver_override=step.override)
        devices = {**self.host.devices, step.address: known}
        self.host = replace(self.host, devices=devices)

    def settle(self) -> None:
        for _ in range(20):
            self.look()
            while self.under_way:
                self.operate()


@pytest.mark.parametrize("seed", range(100))
def test_without_the_pool_all_is_as_it_was_whatever_came_before(seed: int) -> None:
    dice = Random(seed)
    daemon = Daemon(dice)
    for _ in range(60):
        act = dice.choice(("look", "look", "finish", "finish", "fail", "die", "load"))
        match act:
            case "look":
                daemon.look()
            case "finish":
                daemon.operate()
            case "fail":
                daemon.operate(fails=True)
            case "die":
                daemon.operate(dies=True)
            case "load":
                daemon.load(dice.choice((WITH, WITHOUT)))
    daemon.load(WITH)
    daemon.settle()
    assert {one.driver for one in daemon.host.devices.values()} == {VFIO_PCI}
    daemon.load(WITHOUT)
    daemon.settle()
    assert daemon.host.devices == BEFORE.devices
    assert not daemon.rows
