"""The shell of a ledger under test, with all that others do to it: administrators, clients that
come and go, time, and a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.core.reconcile import Newcomer, newcomers, news
from isod.model.address import Address
from isod.model.event import Deadline, Ending, Event, Recovered, Revoke

from .books import Books
from .machine import BEFORE, PLUGGED


class Shell(Books):
    """A ledger on a machine, and everybody around it."""

    def take(self, address: Address) -> None:
        """An administrator binds a device that nobody has open to a driver, or gives it back."""
        if address in self.taken:
            self.taken.discard(address)
            device = self.host.devices[address]
            leased = device.group is not None and self.ledger.owner_of(device.group)
            self.drivers[address] = "vfio-pci" if leased else device.driver
        else:
            self.taken.add(address)
            self.drivers[address] = "admins"
        self.told = False

    def pull(self, address: Address) -> None:
        """An administrator unbinds a leased device, which waits for its client; or binds it."""
        self.drivers[address] = "vfio-pci" if self.drivers[address] is None else None
        self.told = False

    def reconcile(self, judge: Callable[[Newcomer], Event]) -> None:
        """The ledger is told what differs. Asked again, there is nothing more to say."""
        isolation = Isolation(self.picture(), self.policy)
        while found := news(isolation, self.ledger):
            for event in found:
                self.apply(event)
        for newcomer in newcomers(isolation, self.ledger):
            if newcomer.lease == self.ledger.leases[newcomer.lease.id]:
                self.apply(judge(newcomer))
        left = news(isolation, self.ledger)
        assert left == (), left
        self.told = True

    def kill(self, lost: Collection[str] = ()) -> None:
        """The daemon is killed: what it had in memory and open is gone, the store's rows stay and
        what is quarantined. It comes back and recovers. ``lost``: holds that close meanwhile."""
        rows = list(self.store.values())
        self.todo.clear()
        self.timers.clear()
        self.ours.clear()
        self.given.clear()
        self.touched.clear()  # how far a plan had come is not known any more
        self.anchors -= set(lost)
        self.ledger = Ledger(self.quarantine.values())
        for row in rows:
            self.apply(Recovered(row, held=row.id in self.anchors))

    def let_go(self, lease: str) -> None:
        """The client closes all that it has of a lease but the hold."""
        if lease in self.anchors:
            self.holders[lease] = frozenset()
            self.unseen.discard(lease)

    def close(self, lease: str) -> None:
        """The client of a lease is gone, with all that it had open."""
        self._dies(lease)
        self.apply(Ending(lease, "its hold was closed"))

    def revoke(self, lease: str, *, at_once: bool) -> None:
        """Somebody wants a lease back."""
        if at_once:
            self.cut.add(lease)
        self.apply(Revoke(lease, "revoked", at_once))

    def wait(self, seconds: float) -> None:
        """Time passes; timers run out."""
        self.now += seconds
        for lease in [name for name, due in self.timers.items() if due <= self.now]:
            del self.timers[lease]
            self.apply(Deadline(lease))

    def _pull_strangers(self) -> None:
        """What was plugged in and is nobody's keeps no scrub waiting any more."""
        leases = self.ledger.leases.values()
        known = {(d.address, d.generation) for lease in leases for d in lease.devices}
        plugged = [d for d in self.host.devices.values() if d.generation >= PLUGGED]
        strangers = {d.address for d in plugged if (d.address, d.generation) not in known}
        if strangers:
            left = {a: d for a, d in self.host.devices.items() if a not in strangers}
            self.change_host(replace(self.host, devices=left))

    def end_everything(self) -> None:
        """All clients and foreign programs go, and everything finishes: all is as it was."""
        self.holders.clear()
        self.foreign.clear()
        while self.ledger.leases:
            for name in list(self.ledger.leases):
                self.close(name)
            while self.todo:
                self._pull_strangers()
                self.carry_out(0)
                self.holders.clear()
        assert not self.store
        for address in self.taken:
            self.drivers[address] = self.host.devices[address].driver
        former = {address: device.driver for address, device in self.host.devices.items()}
        stranded = {a: d for a, d in self.drivers.items() if d != former[a]}
        assert not stranded, f"stranded: {stranded}"
        assert set(self.limits.values()) <= {BEFORE}, "a raised limit was left"
        assert not self.rights, "rights on nodes were left"
