"""The books of a machine below the ledger: what is bound, who has what open, what was raised; and
what its kernel would do with a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from isod.core.guard import check_unbind
from isod.model.address import Address
from isod.model.critical import CriticalFacts
from isod.model.host import HostSnapshot, is_vfio_driver
from isod.model.lease import Lease, LeaseDevice
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.step import (
    Bind,
    Fence,
    GrantNodes,
    GroupName,
    HotReset,
    Limit,
    OpenGroup,
    OpenIommufd,
    Probe,
    Reset,
    Restore,
    RevokeNodes,
    Step,
    Unbind,
)

from . import scrubbing

GONE = Refusal(Reason.gone, "another device, or none", {})
IN_USE = Refusal(Reason.in_use, "open still", {})
HELD = Refusal(Reason.held_outside, "held by another program", {})
BEFORE = 8
PLUGGED = 100000  # generations of what was plugged in


def fates(host: HostSnapshot) -> dict[Address, Address]:
    """What shares a fate has the same name here: a bus below a bridge, a physical function and
    its virtual ones, a parent and its mdevs. Worked out as simply as can be."""
    buses = {device.secondary_bus for device in host.devices.values() if device.secondary_bus}
    name = {address: address for address in host.devices}
    while True:
        for address, device in host.devices.items():
            kin = [one for one in (device.physical_function, device.parent) if one is not None]
            if address.pci_bus in buses:
                kin += [other for other in host.devices if other.pci_bus == address.pci_bus]
            least = min(name[one] for one in (address, *kin))
            changed = [one for one in (address, *kin) if name[one] != least]
            name.update(dict.fromkeys(changed, least))
            if changed:
                break
        else:
            return name


def _on_vfio(driver: str | None) -> bool:
    return driver is not None and is_vfio_driver(driver)


@dataclass
class Machine:
    """What a real kernel would know, and a fault where isod asks of it what it never must.

    ``holders``: what each lease's client has open. ``ours``: files that isod has opened and not
    sent yet. ``given``: what a client will reach with what is on its way to it. ``foreign``:
    groups that another root program has open. ``taken``: devices that an administrator has bound
    to a driver. ``limits``: those of processes, where one was set. ``rights``: who may open the
    nodes of which groups. ``facts``: what the host needs. ``told``: whether the ledger knows of the
    latest change of the host. ``fates``: what shares a fate has the same name there.
    """

    host: HostSnapshot
    drivers: dict[Address, str | None] = field(default_factory=dict)
    holders: dict[str, frozenset[Address]] = field(default_factory=dict)
    ours: dict[str, frozenset[Address]] = field(default_factory=dict)
    given: dict[str, frozenset[Address]] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    taken: set[Address] = field(default_factory=set)
    limits: dict[int, int] = field(default_factory=dict)
    rights: set[tuple[GroupName, int]] = field(default_factory=set)
    facts: CriticalFacts = field(default_factory=CriticalFacts)
    fates: dict[Address, Address] = field(default_factory=dict)
    told: bool = True

    def __post_init__(self) -> None:
        self.drivers = {address: device.driver for address, device in self.host.devices.items()}
        self.fates = fates(self.host)

    def picture(self) -> HostSnapshot:
        """The host as isod would see it now."""
        devices = {
            address: device if driver == device.driver else replace(device, driver=driver)
            for address, device in self.host.devices.items()
            for driver in (self.drivers[address],)
        }
        return replace(self.host, devices=devices)

    def change_host(self, host: HostSnapshot) -> None:
        """Devices come with the driver that they have in ``host``; what goes is open no more."""
        for address in self.host.devices.keys() - host.devices.keys():
            del self.drivers[address]
            self.taken.discard(address)
            for books in (self.holders, self.ours, self.given):
                books.update({name: held - {address} for name, held in books.items()})
        for address in host.devices.keys() - self.host.devices.keys():
            self.drivers[address] = host.devices[address].driver
        self.foreign &= host.groups.keys()
        names = {GroupName(group.number, group.generation) for group in host.groups.values()}
        self.rights = {right for right in self.rights if right[0] in names}
        self.host, self.fates, self.told = host, fates(host), False

    # --- steps ------------------------------------------------------------------------------------

    def run(self, step: Step, lease: Lease | None = None) -> None:
        """One step, with what the kernel would never do or isod must never ask as assertions."""
        if not self._is_there(step):
            return  # done, since there is nothing left to do
        if getattr(step, "address", None) in self.taken:
            assert not isinstance(step, Unbind | Bind), "fought over"
            return
        match step:
            case Unbind():
                self._check_children(step.address)
                if lease is not None:
                    self._check_not_needed(step.address, lease)
                self.drivers[step.address] = None
            case Bind():
                self.drivers[step.address] = step.driver
            case Fence():
                self._check_alone(step.address)
                self._check_children(step.address)
                if _on_vfio(self.drivers[step.address]):
                    self.drivers[step.address] = None
            case Reset():
                self._check_alone(step.address)
            case HotReset():
                assert lease is not None
                scrubbing.check_hot_reset(self.host, step, lease, self.drivers)
                for address in scrubbing.hit_by(self.host, step):
                    self._check_alone(address)
            case Restore():
                self._check_alone(step.address)
                self.drivers[step.address] = step.driver
            case Limit():
                now = self.limit_of(step.pid) if step.raise_only else 0
                self.limits[step.pid] = max(now, step.soft)
            case GrantNodes():
                self.rights |= {(name, step.uid) for name in step.groups}
            case RevokeNodes():
                self.rights -= {(name, step.uid) for name in step.groups}
            case _:
                pass

    def _obstacle(self, step: Step, lease: Lease) -> Refusal | None:
        """What the kernel would refuse."""
        taken = getattr(step, "address", None) in self.taken
        if taken or not self._is_there(step) or not self._opens(step, lease):
            return GONE
        if isinstance(step, Unbind):
            return self._needed(step, lease)
        if isinstance(step, HotReset) and scrubbing.is_refused(self.host, step, self.drivers):
            return scrubbing.failing(step)
        if isinstance(step, Probe) and step.group.number in self.foreign:
            return HELD
        if isinstance(step, Fence) and self.is_held(step.address):
            return IN_USE
        return None

    def _needed(self, step: Unbind, lease: Lease) -> Refusal | None:
        """The executor asks the guard again, right before."""
        try:
            check_unbind(self.picture(), self.facts, step.address, lease.terms.critical_ok)
        except RefusedError as error:
            return error.refusal
        return None

    def _has(self, name: GroupName) -> bool:
        group = self.host.groups.get(name.number)
        return group is not None and group.generation == name.generation

    def _opens(self, step: Step, lease: Lease) -> bool:
        """Whether there is a cdev of each of these very devices, or a node of each group."""
        if isinstance(step, OpenGroup | GrantNodes):
            return all(map(self._has, step.groups))
        if not isinstance(step, OpenIommufd):
            return True
        generations = {d.address: d.generation for d in lease.devices}
        return all(
            address in self.host.devices
            and self.host.devices[address].generation == generations[address]
            and _on_vfio(self.drivers[address])
            for address in step.devices
        )

    def reach(self, step: Step) -> frozenset[Address]:
        """All that a client can open with what a step gives it: who has a group has each endpoint
        of it (GET_DEVICE_FD)."""
        match step:
            case OpenIommufd(devices=devices):
                return frozenset(devices)
            case OpenGroup(groups=groups) | GrantNodes(groups=groups):
                numbers = {name.number for name in groups if self._has(name)}
                return frozenset(
                    address
                    for address, device in self.host.devices.items()
                    if device.group in numbers
                    if not device.is_bridge and _on_vfio(self.drivers[address])
                )
        return frozenset()

    # --- looking ----------------------------------------------------------------------------------

    def is_there(self, device: LeaseDevice) -> bool:
        """Whether it has not gone; another one may be at its address."""
        now = self.host.devices.get(device.address)
        return now is not None and now.generation == device.generation

    def _is_there(self, step: Step) -> bool:
        if not isinstance(step, Unbind | Bind | Fence | Reset | HotReset | Restore):
            return True
        device = self.host.devices.get(step.address)
        return device is not None and device.generation == step.generation

    def _is_taken(self, step: Step) -> bool:
        """Whether an administrator's driver has what the step would hit."""
        hit = [address for address, _ in step.members] if isinstance(step, HotReset) else []
        return not self.taken.isdisjoint([*hit, getattr(step, "address", None)])

    def limit_of(self, pid: int) -> int:
        """A process's memlock limit."""
        return self.limits.get(pid, BEFORE)

    def is_held(self, address: Address) -> bool:
        """Open somewhere: with a client, or with us and on its way out."""
        books = (*self.holders.values(), *self.ours.values())
        return any(address in held for held in books)

    def _check_alone(self, address: Address) -> None:
        """Fence, reset and restore hit nobody: not a client, and not another root program."""
        assert not self.is_held(address), f"{address} is open"
        group = self.host.devices[address].group
        assert group not in self.foreign, f"another program has the group of {address}"

    def _check_children(self, address: Address) -> None:
        """Without its parent's driver a virtual function or an mdev is gone."""
        for child in self.host.devices.values():
            assert address not in {child.physical_function, child.parent}, f"{child} is removed"

    def _check_not_needed(self, address: Address, lease: Lease) -> None:
        """Nor anything that goes with it."""
        for other, device in self.host.devices.items():
            goes = address in {other, device.physical_function, device.parent, *device.bridges}
            if goes and str(other) not in lease.terms.critical_ok:
                assert not self.facts.uses_of(other), f"{other} is taken, and the host needs it"
