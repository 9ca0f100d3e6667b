"""A hundred thousand steps of the ledger on random hosts, and how often each cell was visited.

``ISOD_STEPS`` asks for more of them, ``ISOD_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from isod.core.ledger import TABLE
from isod.core.plan import plan_reopen
from isod.model.effect import Drain, Effect, EndPeer, GiveBack, Prepare
from isod.model.event import (
    Cleared,
    Conflict,
    Ending,
    Granted,
    PeerEnded,
    PeerNotEnded,
    Quarantined,
    Recovered,
    Reopen,
)
from isod.model.host import HostSnapshot
from isod.model.lease import Lease, State
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Refusal
from isod.model.request import Acquire
from isod.model.step import Unbind

from . import asking
from .books import Late
from .invariants import check
from .outside import Outside
from .random_host import random_host
from .random_policy import PEERS, random_policy, random_wish
from .shell import Shell

pytestmark = pytest.mark.slow

STEPS = int(os.environ.get("ISOD_STEPS", "100000"))
SEED = int(os.environ.get("ISOD_SEED", str(secrets.randbits(32))))
LIFE = 400
VISITS = 50
CHANGING = 0.3
_REASONS = (
    "denied",
    "group_busy",
    "host_critical",
    "in_use_by_driver",
    "quarantined",
    "quota",
    "reset_domain_shared",
    "terms",
)
ANSWERS = (
    "granted: iommufd",
    "granted: group",
    "granted: nodes",
    "granted: with a sibling, iommufd",
    "granted: with a sibling, group",
    "granted: with a sibling, nodes",
    "granted: with a reset_set, iommufd",
    "granted: with a reset_set, group",
    "granted: with a reset_set, nodes",
    "granted: from a driver",
    "granted: from a pool",
    "granted: by may_take",
    "granted: by two rules",
    *(f"refused: {reason}" for reason in _REASONS),
    "restarted: leased",
    "restarted: quarantined",
)


class History:
    """One host's life under random requests, failures, deaths and restarts."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        host = random_host(dice)
        self.shell = Shell(host, policy=random_policy(dice, host))
        self.outside = Outside(self.shell, dice)
        self.outside.needs()
        self.count = 0
        self.answers: Counter[str] = Counter()

    @property
    def host(self) -> HostSnapshot:
        return self.shell.host

    def live(self) -> None:
        acts = (
            *(self.acquire,) * 4,
            *(self.carry_out,) * 10,
            self.close,
            self.release,
            *(self.open_again,) * 2,
            self.let_go,
            self.quarantine,
            self.foreign,
            *(self.revoke,) * 6,
            *(self.wait,) * 2,
            self.outside.unplug,
            self.outside.plug,
            self.outside.take,
            *(self.outside.policy,) * 3,
            self.outside.reconcile,
            self.outside.needs,
            *(self.outside.exchange,) * 5,
            *(self.outside.pull,) * 4,
        )
        checked: object = None
        for _ in range(LIFE):
            act = self.kill if self.dice.random() < 0.01 else self.dice.choice(acts)
            act()
            shell = self.shell
            now = (shell.steps, id(shell.host), id(shell.policy), len(shell.todo))
            if now != checked:  # half of the acts find nothing to do
                check(shell)
            checked = now
        self.shell.end_everything()

    def acquire(self) -> None:
        """Mostly of what is free."""
        devices = [d for d in self.host.devices.values() if not d.is_bridge]
        devices = [d for d in devices if d.address.bus == "pci" or self.dice.random() < 0.05]
        owned = self.shell.ledger.owner_of
        free = [d for d in devices if d.group is not None and owned(d.group) is None]
        wanted = free if free and self.dice.random() < 0.8 else devices
        if not wanted:
            return
        request = random_wish(self.dice, sorted(str(one.address) for one in wanted))
        self.count += 1
        peer = self.dice.choice(PEERS)
        answer = asking.ask(self.shell, peer, request, f"L{self.count}")
        self.answers.update(_words(answer, request))

    def carry_out(self) -> None:
        if self.shell.todo:
            place = self.dice.randrange(len(self.shell.todo))
            effect = self.shell.todo[place]
            if self.dice.random() < self._slowness(effect):
                return
            fails = 0.5 if isinstance(effect, EndPeer) else 0.4
            last = 1 if isinstance(effect, Prepare) and effect.lease.state is State.joining else 6
            fail_at = self.dice.randint(0, last) if self.dice.random() < fails else None
            late = 0.8 if isinstance(effect, EndPeer) else 0.5
            unseen = self.dice.random() < late
            self.shell.carry_out(place, fail_at, unseen=unseen)

    def _slowness(self, effect: Effect | Late) -> float:
        """What much may come in between of: what is told late, a device that joins or leaves, fds
        that are opened anew."""
        if isinstance(effect, Prepare):
            rare = {State.joining: 0.85, State.proving: 0.85, State.reopening: 0.5}
            return rare.get(effect.lease.state, 0.0)
        if isinstance(effect, Late):
            return 0.85 if isinstance(effect.event, PeerEnded | PeerNotEnded) else 0.7
        return 0.6 if isinstance(effect, GiveBack) else 0.0

    def _any_lease(self) -> str | None:
        names = list(self.shell.ledger.leases)
        return self.dice.choice(names) if names else None

    def close(self) -> None:
        """Mostly one that keeps something."""
        keepers = sorted(self.shell.holders) if self.dice.random() < 0.6 else []
        name = self.dice.choice(keepers) if keepers else self._any_lease()
        if name is not None:
            self.shell.close(name)

    def release(self) -> None:
        if (name := self._any_lease()) is not None:
            self.shell.apply(Ending(name, "released"))

    def revoke(self) -> None:
        """Mostly of somebody who keeps what it has, and will be ended for it."""
        leases, holders = self.shell.ledger.leases, self.shell.holders
        keepers = [one for one in leases if holders.get(one) and self.dice.random() < 0.9]
        ended = [one for one in keepers if leases[one].terms.revoke.then == "kill"]
        keepers = ended if ended and self.dice.random() < 0.7 else keepers
        name = self.dice.choice(keepers) if keepers else self._any_lease()
        if name is not None:
            self.shell.revoke(name, at_once=self.dice.random() < 0.8)
            places = [p for p, one in enumerate(self.shell.todo) if _drains(one, name)]
            if places and self.dice.random() < 0.9:
                self.shell.carry_out(places[0])  # before it can let go

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
        known = sorted(self.shell.quarantine)
        if known and self.dice.random() < 0.8:
            self.shell.apply(Cleared(self.dice.choice(known)))
            return
        address = self.dice.choice(sorted(self.host.devices))
        entry = QuarantineEntry(address, "test")
        self.shell.apply(Quarantined(entry) if self.dice.random() < 0.5 else Cleared(address))

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

    def let_go(self) -> None:
        if self.shell.anchors:
            self.shell.let_go(self.dice.choice(sorted(self.shell.anchors)))

    def kill(self) -> None:
        """Some clients die with it, and some keep what they have open but the hold."""
        self.shell.kill([one for one in sorted(self.shell.anchors) if self.dice.random() < 0.4])
        leases = self.shell.ledger.leases.values()
        self.answers["restarted: leased"] += sum(one.state is State.leased for one in leases)
        self.answers["restarted: quarantined"] += len(self.shell.quarantine)


def _drains(effect: Effect | Late, name: str) -> bool:
    return isinstance(effect, Drain) and effect.lease.id == name


def _words(answer: Lease | Refusal | None, request: Acquire) -> Iterator[str]:
    """What kind of answer that was: all that is true of a grant, or a refusal's reason."""
    if isinstance(answer, Refusal):
        yield f"refused: {answer.reason.name}"
    if not isinstance(answer, Lease):
        return
    yield f"granted: {answer.hand_over}"
    whys = {device.why for device in answer.devices}
    for why in ("sibling", "reset_set"):
        if why in whys:
            yield f"granted: with a {why}, {answer.hand_over}"
    if any(device.why == "reset_set" and device.rule is None for device in answer.devices):
        yield "granted: by may_take"
    if any(isinstance(step, Unbind) for step in answer.plan):
        yield "granted: from a driver"
    if request.pools:
        yield "granted: from a pool"
    if len({device.rule for device in answer.devices if device.why == "requested"}) > 1:
        yield "granted: by two rules"


def _rare(visits: Counter[tuple[str, str]], answers: Counter[str]) -> list[object]:
    """The cells that were not visited often enough, and the answers."""
    cells = [(state.value, event.__name__) for state, event in TABLE]
    alone = (Granted, Recovered, Quarantined, Cleared, Conflict)
    cells += [("-", event.__name__) for event in alone]
    rare = sorted(cell for cell in cells if visits[cell] < VISITS)
    return [*rare, *(answer for answer in ANSWERS if answers[answer] < VISITS)]


def test_a_hundred_thousand_steps() -> None:
    dice = Random(SEED)
    print(f"ISOD_SEED={SEED}")
    visits: Counter[tuple[str, str]] = Counter()
    answers: Counter[str] = Counter()
    steps = changes = hosts = 0
    # A rare cell may want a few more hosts; one that cannot be reached wants another model.
    while steps < STEPS or (_rare(visits, answers) and steps < 5 * STEPS):
        history = History(dice)
        history.live()
        steps += history.shell.steps
        changes += history.shell.changes
        visits += history.shell.visits
        answers += history.answers
        hosts += 1
    print(f"{steps} steps on {hosts} hosts, {changes / steps:.0%} changed a state")
    for (state, event), count in sorted(visits.items()):
        print(f"{count:8} {state:10} {event}")
    for answer, count in sorted(answers.items()):
        print(f"{count:8} {answer}")
    assert not _rare(visits, answers)
    assert changes >= CHANGING * steps
