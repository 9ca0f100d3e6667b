"""Which devices always go together.

An isolation group is isod's unit of ownership: one IOMMU group, or several of which the policy
says, by its quirks, that they are not isolated from each other. Quirks are applied here and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot
from isod.model.policy import Policy, Quirk

from .match import matches_what

# Drivers that leave DMA alone (``driver_managed_dma``, 5.19 on): a member bound to one of them
# does not keep its group from being owned. vfio drivers are told by Device.on_vfio.
HARMLESS_DRIVERS = frozenset({"pci-stub", "pcieport"})


class Isolation:
    """The isolation groups of one snapshot under one policy's quirks. With quirks, building it
    looks at every device once."""

    def __init__(self, snapshot: HostSnapshot, policy: Policy | None = None) -> None:
        self.snapshot = snapshot
        self.policy = policy or Policy()
        self._joined: dict[int, tuple[int, ...]] = {}
        self._quirks: dict[int, tuple[str, ...]] = {}
        for quirk in self.policy.quirks:
            self._join(quirk)

    def numbers(self, group: int) -> tuple[int, ...]:
        """The IOMMU groups of the isolation group that this one belongs to, sorted."""
        return self._joined.get(group, (group,))

    def quirks(self, group: int) -> tuple[str, ...]:
        """The quirks that joined this group with others, in the policy's order."""
        return self._quirks.get(group, ())

    def groups_of(self, addresses: Iterable[Address]) -> tuple[Group, ...]:
        """The IOMMU groups of these devices' isolation groups, each once, by number.

        Addresses without a device or without a group are left to the caller, who has refused them.
        """
        groups = (self.snapshot.group_of(address) for address in addresses)
        numbers = {n for group in groups if group is not None for n in self.numbers(group.number)}
        return tuple(self.snapshot.groups[number] for number in sorted(numbers))

    def joined(self) -> Iterator[tuple[int, ...]]:
        """Every isolation group that quirks have made of several IOMMU groups."""
        yield from sorted(set(self._joined.values()))

    def _join(self, quirk: Quirk) -> None:
        """A group that an earlier quirk has joined brings all of its groups along."""
        named = {device.group for device in self._named_by(quirk) if device.group is not None}
        found = {n for group in named & self.snapshot.groups.keys() for n in self.numbers(group)}
        together = tuple(sorted(found))
        if len(together) < 2:
            return
        known = dict.fromkeys(name for number in together for name in self.quirks(number))
        order = [one.name for one in self.policy.quirks if one.name in known or one is quirk]
        for number in together:
            self._joined[number] = together
            self._quirks[number] = tuple(order)

    def _named_by(self, quirk: Quirk) -> Iterator[Device]:
        for device in self.snapshot.devices.values():
            if (
                (quirk.bridge is not None and quirk.bridge in map(str, device.bridges))
                or (quirk.parent is not None and quirk.parent == str(device.parent))
                or any(matches_what(what, device, self.policy) for what in quirk.devices)
            ):
                yield device


def blocks_ownership(device: Device) -> bool:
    """Whether the device's driver keeps its group from being owned by a user (EPERM)."""
    return (
        device.driver is not None and not device.on_vfio and device.driver not in HARMLESS_DRIVERS
    )


def can_be_owned(members: Iterable[Device]) -> bool:
    """Whether there is anything in the group to own: a port that is alone in its group has no vfio
    node, and keeps its driver when a quirk joins it with what is below."""
    return any(not member.is_bridge for member in members)
