"""In use means in use: which kernel drivers a grant may take devices from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from isod.model.address import Address
from isod.model.host import Device, Group, HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Policy, Rule
from isod.model.reason import Reason, RefusedError
from isod.model.terms import Terms

from .isolation import blocks_ownership, can_be_owned
from .match import first_match, names_exactly


def judge_drivers(
    policy: Policy,
    snapshot: HostSnapshot,
    peer: Peer,
    handed: Collection[Address],
    groups: Sequence[Group],
    terms: Terms,
    reached: Mapping[Address, Rule],
) -> None:
    """A device bound to a kernel driver is in use. It is taken only by a rule that names its
    exact address, or that lists the driver in ``take_from``. ``handed`` are handed out: they need
    vfio's driver, where a sibling may keep a harmless one. The rules of ``reached`` siblings
    have to list the drivers of these, too. Raises RefusedError."""
    for group in groups:
        members = snapshot.members(group.number)
        for member in members if can_be_owned(members) else ():
            if must_be_taken(member, member.address in handed):
                judge_driver(policy, first_match(policy, peer, member), member, terms)
                if (own := reached.get(member.address)) is not None:
                    judge_driver(policy, own, member, own.terms)


def judge_driver(policy: Policy, rule: Rule | None, member: Device, terms: Terms) -> None:
    """As ``judge_drivers``, of one device and the rule that decides about it."""
    if member.driver is None or member.driver in terms.take_from:
        return
    if rule is not None and rule.allow and names_exactly(rule, member, policy):
        return
    if member.is_bridge:
        raise RefusedError(
            Reason.not_viable,
            f"bridge {member.address.short} of group {member.group} is bound to "
            f"{member.driver}, which keeps the group from being handed out",
            hint=f'list "{member.driver}" in take_from of the rule',
            devices=[str(member.address)],
            driver=member.driver,
        )
    raise RefusedError(
        Reason.in_use_by_driver,
        f"{member.address.short} is in use by the driver {member.driver}",
        devices=[str(member.address)],
        driver=member.driver,
    )


def must_be_taken(member: Device, is_handed: bool) -> bool:
    """Whether the grant takes the device from the driver that it has, if it has one."""
    if member.on_vfio:
        return False
    return blocks_ownership(member) or (is_handed and not member.is_bridge)
