"""What happens to a host without isod: devices that come and go, bare hands, another policy."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from isod.core.domain import Domains
from isod.core.reconcile import Newcomer
from isod.core.reset_set import ResetSets
from isod.model.address import Address
from isod.model.event import Event, Stranger
from isod.model.host import Device, Group, HostSnapshot
from isod.model.lease import State
from isod.model.policy import Quirk
from isod.model.terms import What

from . import asking
from .machine import PLUGGED
from .random_policy import PEERS, random_needs
from .shell import Shell


class Outside:
    """Acts on the host below a shell. ``gone`` are the devices that can come back."""

    def __init__(self, shell: Shell, dice: Random) -> None:
        self._shell = shell
        self._dice = dice
        self._gone: list[Device] = []
        self._instances = 0
        self._first = shell.policy

    def unplug(self) -> None:
        """Mostly of a leased device, and of one whose removal takes nothing else along."""
        host = self._shell.host
        domains = Domains(ResetSets(host))
        plain = [
            device
            for device in host.devices.values()
            if not device.is_bridge
            and not domains.parents(device)
            and not domains.children(device.address)
        ]
        leased = set(self._leased())
        wanted = [one for one in plain if one.address in leased] or plain
        shared = [d for d in wanted if d.group and len(host.groups[d.group].members) > 1]
        if wanted:
            device = self._dice.choice(shared or wanted)
            self._gone.append(device)
            self._shell.change_host(_without(host, device))

    def plug(self) -> None:
        if self._gone:
            has = self._shell.ledger.owner_of
            leased = [one for one in self._gone if one.group is not None and has(one.group)]
            device = self._dice.choice(leased or self._gone)
            self._gone.remove(device)
            self._instances += 1
            driver = self._dice.choice((device.driver, *(None,) * 6, "ahci"))
            again = replace(device, generation=device.generation + PLUGGED, driver=driver)
            self._shell.change_host(_with(self._shell.host, again, 50000 + self._instances))

    def exchange(self) -> None:
        """A sibling in a leased group is pulled and put back."""
        host = self._shell.host
        siblings = [
            host.devices[device.address]
            for lease in self._shell.ledger.leases.values()
            if lease.state is State.leased
            for device in lease.devices
            if device.why == "sibling" and not device.bridge and device.address in host.devices
        ]
        plain = [one for one in siblings if one.physical_function is one.parent is None]
        plain = [one for one in plain if not one.virtual_functions]
        if plain:
            device = self._dice.choice(plain)
            self._gone.append(device)
            self._shell.change_host(_without(host, device))
            self.reconcile()
            self.plug()
            self.reconcile()

    def take(self) -> None:
        """A device on vfio that nobody has open, or that was taken before."""
        shell = self._shell
        free = [a for a in self._leased() if shell.drivers.get(a) == "vfio-pci"]
        wanted = [a for a in free if not shell.is_held(a)] + sorted(shell.taken)
        if wanted:
            shell.take(self._dice.choice(wanted))

    def pull(self) -> None:
        """A requested device is taken from vfio under its lease, mostly until its time is over; or
        one that was and that nobody has open is bound again."""
        shell = self._shell
        wanted = [
            device.address
            for lease in shell.ledger.leases.values()
            if lease.state is State.leased
            for device in lease.devices
            if device.why == "requested" and shell.is_there(device)
            if shell.drivers[device.address] == "vfio-pci"
            or (shell.drivers[device.address] is None and not shell.is_held(device.address))
        ]
        if wanted:
            shell.pull(self._dice.choice(wanted))
            self.reconcile()
            if self._dice.random() < 0.7:
                shell.wait(40.0)

    def policy(self) -> None:
        """The policy is loaded with the quirks that it had, or with one that joins what two leases
        may have."""
        leased = sorted({str(address) for address in self._leased()})
        if len(leased) > 1 and self._dice.random() < 0.5:
            named = tuple(What(address=one, exact=True) for one in self._dice.sample(leased, k=2))
            self._shell.policy = replace(self._first, quirks=(Quirk("sudden", named),))
        else:
            self._shell.policy = self._first
        self.reconcile()

    def needs(self) -> None:
        """Something is mounted, or a route set; or the other way round."""
        self._shell.facts = random_needs(self._dice, self._shell.host)

    def reconcile(self) -> None:
        self._shell.reconcile(self._judge)

    def _judge(self, newcomer: Newcomer) -> Event:
        lease, device = newcomer.lease, newcomer.device
        if device.address in self._shell.taken:
            return Stranger(lease.id, device.address, device.generation, "taken")
        peer = next(one for one in PEERS if one.uid == lease.owner.uid)
        return asking.newcomer(self._shell, newcomer, peer)

    def _leased(self) -> list[Address]:
        leases = self._shell.ledger.leases.values()
        return [
            device.address
            for lease in leases
            if lease.state is State.leased or self._dice.random() < 0.5
            for device in lease.devices
        ]


def _without(host: HostSnapshot, device: Device) -> HostSnapshot:
    devices = {a: d for a, d in host.devices.items() if a != device.address}
    groups = dict(host.groups)
    assert device.group is not None
    group = groups[device.group]
    members = tuple(one for one in group.members if one != device.address)
    groups[group.number] = replace(group, members=members)
    if not members:
        del groups[group.number]
    return replace(host, devices=devices, groups=groups)


def _with(host: HostSnapshot, device: Device, generation: int) -> HostSnapshot:
    """With a device; its group is another one, if it was gone."""
    assert device.group is not None
    group = host.groups.get(device.group, Group(device.group, generation, ()))
    group = replace(group, members=tuple(sorted((*group.members, device.address))))
    return replace(
        host,
        devices={**host.devices, device.address: device},
        groups={**host.groups, group.number: group},
    )
