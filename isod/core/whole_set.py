"""``reset = "whole-set"``: a grant takes everything that a hot reset of its devices would hit."""

from __future__ import annotations

from collections.abc import Sequence

from isod.model.address import Address
from isod.model.host import Device, Group
from isod.model.reason import Reason, RefusedError

from .reset_set import ResetSets


def pulled_in(sets: ResetSets, requested: Sequence[Device], *, by_rule: bool) -> tuple[Device, ...]:
    """The endpoints that come along, in the order of their addresses; none where no hot reset
    exists. ``by_rule``: the rule wants the whole set, whatever the client wishes. Raises
    RefusedError for a set that nobody can own whole: with a bridge in it, a virtual function, or a
    device without a group."""
    fixed_by = "an administrator" if by_rule else "you"
    hint = 'say reset = "if-owned" in the rule' if by_rule else "ask for if-owned"
    wanted = {device.address for device in requested}
    found: dict[Address, Device] = {}
    for device in requested:
        its_set = sets.of(device.address)
        for address in () if its_set is None else its_set.members:
            member = sets.snapshot.devices[address]
            obstacle = _obstacle(member)
            if obstacle is not None:
                raise RefusedError(
                    Reason.reset_domain_shared,
                    f"a hot reset of {device.address.short} hits {address.short}, {obstacle}",
                    hint=f"{hint}, which grants the device without its whole reset set",
                    fixed_by=fixed_by,
                    retry=False,
                    devices=[str(address)],
                )
            if address not in wanted:
                found[address] = member
    return tuple(found[address] for address in sorted(found))


def within(sets: ResetSets, device: Device, groups: Sequence[Group]) -> bool:
    """Whether a hot reset of the device hits only members of these groups, if there is one."""
    its_set = sets.of(device.address)
    owned = {address for group in groups for address in group.members}
    return its_set is None or owned.issuperset(its_set.members)


def _obstacle(member: Device) -> str | None:
    if member.is_bridge:
        return "a bridge, which nobody can own"
    if member.is_virtual_function or member.virtual_functions:
        return "which has virtual functions or is one"
    return "which has no IOMMU group" if member.group is None else None
