"""A device that was added to a group that a lease has: may it be parked there?

It is asked what a grant asks of a sibling: the policy's denies, the guard, its driver, whether it
can be parked at all, and, where the client will reach it, whether it can be scrubbed. The policy is
the present one, the terms are those of the lease.
"""

from __future__ import annotations

from isod.model.event import DeviceJoined
from isod.model.peer import Peer

from .decide import judge_added
from .domain import Domains, check_member
from .guard import check_guard
from .judge import Bench
from .plan import plan_sibling
from .reconcile import Newcomer
from .scrub import is_reset_as_a_set, with_scrub_of


def judge_newcomer(bench: Bench, newcomer: Newcomer) -> DeviceJoined:
    """The event that has it parked. Raises RefusedError."""
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
    check_member(Domains(bench.sets), bench.ledger, peer, device)
    check_guard(bench.sets, bench.facts, [device], [], lease.terms)
    leased, steps = plan_sibling(device, to_reset=is_reset_as_a_set(lease))
    leased = with_scrub_of(bench.sets, lease, leased, hand_over)
    return DeviceJoined(lease.id, leased, steps)
