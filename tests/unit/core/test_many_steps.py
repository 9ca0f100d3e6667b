"""A hundred thousand steps of the ledger on random hosts, and how often each cell was visited.

``ISOD_STEPS`` asks for more of them, ``ISOD_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from random import Random

import pytest

from isod.core.domain import Domains, check_domain
from isod.core.ledger import TABLE
from isod.core.plan import plan_reopen
from isod.core.reset_set import ResetSets
from isod.model.effect import Effect, EndPeer, Prepare
from isod.model.event import (
    Cleared,
    Conflict,
    Ending,
    Granted,
    Quarantined,
    Recovered,
    Reopen,
)
from isod.model.host import HostSnapshot
from isod.model.lease import State
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import RefusedError
from isod.model.terms import Revoke

from .books import Late, Shell
from .build import ALICE, lease_for
from .invariants import check
from .outside import Outside
from .random_host import random_host, random_policy

pytestmark = pytest.mark.slow

STEPS = int(os.environ.get("ISOD_STEPS", "100000"))
SEED = int(os.environ.get("ISOD_SEED", str(secrets.randbits(32))))
LIFE = 400
VISITS = 50
CHANGING = 0.3


class History:
    """One host's life under random requests, failures, deaths and restarts."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        host = random_host(dice)
        self.shell = Shell(host, policy=random_policy(dice, host))
        self.outside = Outside(self.shell, dice)
        self.count = 0

    @property
    def host(self) -> HostSnapshot:
        return self.shell.host

    def live(self) -> None:
        acts = (
            *(self.acquire,) * 4,
            *(self.carry_out,) * 8,
            self.close,
            self.release,
            self.open_again,
            self.open_again,
            self.quarantine,
            self.foreign,
            *(self.revoke,) * 3,
            self.wait,
            self.outside.unplug,
            self.outside.plug,
            self.outside.take,
            *(self.outside.policy,) * 2,
            self.outside.reconcile,
            *(self.outside.exchange,) * 3,
            *(self.outside.pull,) * 2,
        )
        for _ in range(LIFE):
            act = self.kill if self.dice.random() < 0.01 else self.dice.choice(acts)
            act()
            check(self.shell)
        self.shell.end_everything()

    def acquire(self) -> None:
        taken = self.shell.taken
        addresses = sorted(
            a for a, d in self.host.devices.items() if not d.is_bridge and a not in taken
        )
        if not addresses:
            return
        wanted = self.dice.sample(addresses, k=min(len(addresses), self.dice.randint(1, 2)))
        ledger, groups = self.shell.ledger, self.shell.isolation.groups_of(wanted)
        members = [address for group in groups for address in group.members]
        if any(ledger.owner_of(group.number) for group in groups):
            return
        if not taken.isdisjoint(members) or not ledger.quarantined.keys().isdisjoint(members):
            return
        memlock = self.dice.choice((None, 16, 32))
        scrub = self.dice.choice(("try", "off", "require"))
        revoke = Revoke(
            self.dice.choice((0.0, 5.0, 30.0)), self.dice.choice(("wait", "kill", "kill"))
        )
        self.count += 1
        try:
            check_domain(Domains(ResetSets(self.host)), ledger, ALICE, groups)
            lease = lease_for(
                self.host,
                f"L{self.count}",
                wanted,
                memlock,
                self.shell.limit,
                self.shell.policy,
                scrub=scrub,
                revoke=revoke,
            )
        except RefusedError:
            return
        self.shell.apply(Granted(lease))

    def carry_out(self) -> None:
        if self.shell.todo:
            place = self.dice.randrange(len(self.shell.todo))
            effect = self.shell.todo[place]
            if self._is_slow(effect) and self.dice.random() < 0.7:
                return
            fails = 0.5 if isinstance(effect, EndPeer) else 0.4
            fail_at = self.dice.randint(0, 6) if self.dice.random() < fails else None
            late = 0.65 if isinstance(effect, EndPeer) else 0.5
            unseen = self.dice.random() < late
            self.shell.carry_out(place, fail_at, unseen=unseen)

    def _is_slow(self, effect: Effect | Late) -> bool:
        """What much may come in between of: what is told late, a device that joins or leaves."""
        if isinstance(effect, Prepare):
            return effect.lease.state in {State.joining, State.proving}
        return isinstance(effect, EndPeer | Late)

    def _any_lease(self) -> str | None:
        names = list(self.shell.ledger.leases)
        return self.dice.choice(names) if names else None

    def close(self) -> None:
        if (name := self._any_lease()) is not None:
            self.shell.close(name)

    def release(self) -> None:
        if (name := self._any_lease()) is not None:
            self.shell.apply(Ending(name, "released"))

    def revoke(self) -> None:
        """Mostly of somebody who keeps what it has."""
        keepers = sorted(self.shell.holders) if self.dice.random() < 0.8 else []
        name = self.dice.choice(keepers) if keepers else self._any_lease()
        if name is not None:
            self.shell.revoke(name, at_once=self.dice.random() < 0.5)

    def wait(self) -> None:
        self.shell.wait(self.dice.choice((2.0, 10.0, 40.0)))

    def open_again(self) -> None:
        leased = [x for x in self.shell.ledger.leases.values() if x.state is State.leased]
        if leased:
            lease = self.dice.choice(leased)
            self.shell.apply(Reopen(lease.id, plan_reopen(lease)))

    def quarantine(self) -> None:
        if not self.host.devices or self.dice.random() < 0.6:
            return
        address = self.dice.choice(sorted(self.host.devices))
        entry = QuarantineEntry(address, "test")
        event = Quarantined(entry) if self.dice.random() < 0.3 else Cleared(address)
        self.shell.apply(event)

    def foreign(self) -> None:
        """Another root program opens a group that nobody of ours has and no driver holds."""
        if not self.host.groups:
            return
        group = self.dice.choice(sorted(self.host.groups))
        members = [device.address for device in self.host.members(group)]
        bound = any(self.shell.drivers[address] == "vfio-pci" for address in members)
        if group in self.shell.foreign:
            self.shell.foreign.discard(group)
        elif bound and self.shell.ledger.owner_of(group) is None:
            self.shell.foreign.add(group)

    def kill(self) -> None:
        self.shell.kill()


def _rare(visits: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """The cells that were not visited often enough."""
    cells = [(state.value, event.__name__) for state, event in TABLE]
    alone = (Granted, Recovered, Quarantined, Cleared, Conflict)
    cells += [("-", event.__name__) for event in alone]
    return sorted(cell for cell in cells if visits[cell] < VISITS)


def test_a_hundred_thousand_steps() -> None:
    dice = Random(SEED)
    print(f"ISOD_SEED={SEED}")
    visits: Counter[tuple[str, str]] = Counter()
    steps = changes = hosts = 0
    # A rare cell may want a few more hosts; one that cannot be reached wants another model.
    while steps < STEPS or (_rare(visits) and steps < 5 * STEPS):
        history = History(dice)
        history.live()
        steps += history.shell.steps
        changes += history.shell.changes
        visits += history.shell.visits
        hosts += 1
    print(f"{steps} steps on {hosts} hosts, {changes / steps:.0%} changed a state")
    for (state, event), count in sorted(visits.items()):
        print(f"{count:8} {state:10} {event}")
    assert not _rare(visits)
    assert changes >= CHANGING * steps
