"""A device that came into the isolation group that a lease has: may it be parked there?

It is asked what a grant asks of a sibling: the policy's denies, the guard, its driver, whether it
can be parked at all, and, where the client will reach it, whether it can be scrubbed. The policy is
the present one, the terms are those of the lease.

One of a group that a quirk joins from now on has to be on no vfio driver: isod has not put it
there, or not for this lease, and a fence at the end would hit whoever has it open.
"""

from __future__ import annotations

from dataclasses import replace

from isod.model.event import DeviceJoined
from isod.model.peer import Peer
from isod.model.reason import Reason, RefusedError
from isod.model.step import GroupName

from .decide import judge_added
from .domain import Domains, check_member
from .guard import check_guard
from .judge import Bench
from .plan import plan_sibling
from .reconcile import Newcomer
from .scrub import is_reset_as_a_set, with_scrub_of


def judge_newcomer(bench: Bench, newcomer: Newcomer, *, added: bool = True) -> DeviceJoined:
    """The event that has it parked. ``added``: it came after the policy, so that isod may be
    quicker than its driver; the policy can have joined what was there before, and that gets no
    driver that it had not. Raises RefusedError."""
    lease, device = newcomer.lease, newcomer.device
    owner = lease.owner
    peer = Peer(
        uid=owner.uid,
        gid=owner.uid if owner.gid is None else owner.gid,
        groups=frozenset(owner.groups),
        pid=owner.pid,
        label=owner.label,
        cgroup=owner.cgroup,
        unit=owner.unit,
        user_unit=owner.user_unit,
    )
    handed = any(one.group == device.group and one.why != "sibling" for one in lease.devices)
    hand_over = lease.hand_over if handed else "iommufd"
    judge_added(bench.policy, peer, device, lease, hand_over)
    if newcomer.group is not None:
        _check_nobody_has(bench, newcomer.group)
    domains = Domains(bench.sets)
    check_member(domains, bench.ledger, peer, device)
    check_guard(bench.sets, bench.facts, [device], [], lease.terms)
    leased, steps = plan_sibling(device, to_reset=is_reset_as_a_set(lease))
    leased = with_scrub_of(bench.sets, lease, leased, hand_over)
    leased = replace(leased, added=added or newcomer.group is None)
    domain = domains.of([device.address])
    return DeviceJoined(lease.id, leased, steps, newcomer.group, domain)


def _check_nobody_has(bench: Bench, group: GroupName) -> None:
    for member in bench.snapshot.members(group.number):
        if member.on_vfio:
            name = member.address.short
            raise RefusedError(
                Reason.held_outside,
                f"{name} is on {member.driver} already: another program may have it",
                devices=[str(member.address)],
            )
