"""Reset domains: which devices share a fate, and what that forbids.

A domain is what a hot reset hits, a physical function with all its virtual ones, and a parent with
what was made on it: mdevs, or a PCI domain of its own (Intel VMD). Of these the kernel protects
only the reset set, where every function has to be the caller's. The others are isod's to protect:

==============================  ==================================================================
taking a parent with children   refused, whoever has the children. Unbinding it removes them, from
                                a kernel driver at the grant (``sriov_numvfs``, mdev and VMD
                                drivers) and from vfio-pci at the fence (vfio_pci_core.c,
                                vfio_pci_core_unregister_device turns SR-IOV off); its function
                                reset clears VF Enable under them
taking a child of a parent      refused: the parent's owner resets it at will, and the parent's
that somebody has leased        fence removes the child
taking a virtual function       refused as ``unsupported``: it wants a VF token, which only who
whose parent is on vfio         opened the physical one could set (vfio_pci_core.c,
                                vfio_pci_validate_vf_token)
taking a child of a parent on   allowed: what virtual functions are made for. Neither its reset
a kernel driver, or on none     nor its unbinding reaches the parent or the parent's other children
==============================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot
from isod.model.lease import Lease, State
from isod.model.peer import Peer
from isod.model.reason import Reason, RefusedError

from .isolation import can_be_owned
from .ledger import Ledger
from .reset_set import ResetSets
from .view import holder

_SHOWN = 2


class Domains:
    """The reset domains of one snapshot. Building it looks at every device once."""

    def __init__(self, sets: ResetSets) -> None:
        self.sets = sets
        self._children: dict[Address, list[Address]] = {}
        bridges = {a for a, device in sets.snapshot.devices.items() if device.is_bridge}
        for device in sets.snapshot.devices.values():
            made_on = device.physical_function or device.parent
            if made_on is None and bridges.issuperset(device.bridges):
                continue  # most devices
            for above in self.parents(device):
                self._children.setdefault(above, []).append(device.address)

    def parents(self, device: Device) -> tuple[Address, ...]:
        """What the device goes away with: its physical function, the device it was made on, and
        endpoints above it in the tree. Bridges are none: they keep their bus without a driver."""
        devices = self.sets.snapshot.devices
        made_on = (device.physical_function, device.parent)
        above = (a for a in device.bridges if a in devices and not devices[a].is_bridge)
        return tuple(dict.fromkeys([*(one for one in made_on if one is not None), *above]))

    def children(self, address: Address) -> tuple[Address, ...]:
        """What goes away with a device."""
        device = self.sets.snapshot.devices.get(address)
        listed = () if device is None else device.virtual_functions
        return tuple(sorted({*listed, *self._children.get(address, ())}))

    def of(self, addresses: Iterable[Address]) -> tuple[Address, ...]:
        """Everything that shares the fate of one of these devices, themselves included, sorted."""
        devices = self.sets.snapshot.devices
        found: set[Address] = set()
        left = list(addresses)
        while left:
            address = left.pop()
            if address in found:
                continue
            found.add(address)
            reset_set = self.sets.of(address)
            left += () if reset_set is None else reset_set.members
            left += self.children(address)
            if address in devices:
                left += self.parents(devices[address])
        return tuple(sorted(found))


def children_in_use(snapshot: HostSnapshot, addresses: Collection[Address]) -> tuple[Address, ...]:
    """Children of these devices that a driver has: a fence of their parents would take them away.
    They were made after the grant, which allows none."""
    return tuple(
        sorted(
            device.address
            for device in snapshot.devices.values()
            if device.driver is not None
            and (device.physical_function in addresses or device.parent in addresses)
        )
    )


def check_domain(domains: Domains, ledger: Ledger, peer: Peer, groups: Sequence[Group]) -> None:
    """Raises RefusedError ``reset_domain_shared`` for a grant of these groups that would share its
    fate with somebody else's device, or with the host's."""
    snapshot = domains.sets.snapshot
    for group in groups:
        members = snapshot.members(group.number)
        for member in members if can_be_owned(members) else ():
            if not member.is_bridge:
                check_member(domains, ledger, peer, member)


def check_member(domains: Domains, ledger: Ledger, peer: Peer, member: Device) -> None:
    """As ``check_domain``, for one device that is to be bound to vfio."""
    _check_children(domains, ledger, peer, member)
    _check_parents(domains, ledger, peer, member)


def _check_children(domains: Domains, ledger: Ledger, peer: Peer, member: Device) -> None:
    children = domains.children(member.address)
    if not children:
        return
    kind, remedy, fixed_by = _kind_of(domains, children[0])
    shown = ", ".join(child.short for child in children[:_SHOWN])
    more = f" and {len(children) - _SHOWN} more" if len(children) > _SHOWN else ""
    # They stand in the way whoever has them, and also when nobody has: waiting does not help.
    groups = (domains.sets.snapshot.group_of(child) for child in children)
    owners = (ledger.owner_of(group.number) for group in groups if group is not None)
    raise RefusedError(
        Reason.reset_domain_shared,
        f"taking {member.address.short} would remove its {kind}: {shown}{more}",
        hint=remedy,
        fixed_by=fixed_by,
        retry=False,
        devices=[str(child) for child in children],
        holder=_shown(next((lease for lease in owners if lease is not None), None), peer),
    )


def _kind_of(domains: Domains, child: Address) -> tuple[str, str, str]:
    """What a device's children are, what to do about them, and who can."""
    device = domains.sets.snapshot.devices.get(child)
    if child.bus == "mdev":
        return "mediated devices", "remove them first", "an administrator"
    if device is not None and device.physical_function is None and device.bridges:
        return "devices", "ask for the devices below it instead", "you"
    return "virtual functions", "set sriov_numvfs to 0 first", "an administrator"


def _check_parents(domains: Domains, ledger: Ledger, peer: Peer, member: Device) -> None:
    snapshot = domains.sets.snapshot
    for address in domains.parents(member):
        parent = snapshot.devices.get(address)
        if parent is None:
            continue
        lease = None if parent.group is None else ledger.owner_of(parent.group)
        if lease is not None:
            verb = "leased" if lease.state is State.leased else lease.state.public
            mine = lease.owner.uid == peer.uid
            raise RefusedError(
                Reason.reset_domain_shared,
                f"{member.address.short} goes away with {address.short}, which is {verb}",
                hint="end that lease first" if mine else "try again when that lease has ended",
                fixed_by="you" if mine else None,
                devices=[str(address)],
                holder=_shown(lease, peer),
            )
        if parent.on_vfio and member.is_virtual_function:
            raise RefusedError(
                Reason.unsupported,
                f"{member.address.short} needs a VF token while {address.short} is on "
                f"{parent.driver}",
                hint=f"put {address.short} on its own driver first",
                devices=[str(address)],
            )


def _shown(lease: Lease | None, peer: Peer) -> dict[str, object] | None:
    """Who has a relative, as far as the asker may know it."""
    shown = holder(lease, peer)
    return None if shown is None else shown.model_dump(exclude_none=True)
