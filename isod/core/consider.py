"""One request, considered from its words to a decision: what acquire and explain have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isod.model.host import Device, Group, HostSnapshot
from isod.model.lease import State
from isod.model.peer import Peer
from isod.model.policy import Policy
from isod.model.reason import Reason, RefusedError
from isod.model.request import Acquire

from .decide import Decision, decide
from .ledger import Ledger
from .quota import check_quota
from .view import hand_overs, holder


@dataclass(frozen=True, slots=True)
class Considered:
    """A request that may be granted as soon as its groups are free."""

    requested: tuple[Device, ...]
    groups: tuple[Group, ...]
    decision: Decision


def consider(
    policy: Policy,
    snapshot: HostSnapshot,
    ledger: Ledger,
    peer: Peer,
    request: Acquire,
) -> Considered:
    """Look the devices up, decide, and count quotas. Raises RefusedError.

    Whether the groups are free is asked next, of ``check_free``: the policy comes before the
    ledger, so that whoever may not have a device does not learn who has it.
    """
    requested = _requested(snapshot, request)
    decision = decide(policy, snapshot, peer, request, requested, hand_overs(snapshot.features))
    _check_known(snapshot, decision.groups)
    check_quota(ledger.leases.values(), peer, decision.rules, policy.limits)
    return Considered(requested, decision.groups, decision)


def _requested(snapshot: HostSnapshot, request: Acquire) -> tuple[Device, ...]:
    """The devices asked for, each known, present as the asker knew it, and isolated."""
    devices: list[Device] = []
    for wanted in request.devices:
        device = snapshot.devices.get(wanted.address)
        name = wanted.address.short
        if device is None:
            raise RefusedError(Reason.not_found, f"there is no device {name}")
        if wanted.generation not in (None, device.generation):
            raise RefusedError(
                Reason.gone, f"another device is at {name} now", devices=[str(wanted.address)]
            )
        if device in devices:
            raise RefusedError(Reason.terms, f"{name} is asked for twice")
        if device.is_bridge:
            raise RefusedError(
                Reason.unsupported,
                f"{name} is a bridge; bridges are not handed out",
                hint="ask for a device below it",
            )
        if device.group is None or snapshot.group_of(wanted.address) is None:
            raise RefusedError(
                Reason.unsupported,
                f"{name} is behind no IOMMU: its DMA reaches all of memory",
                hint="turn the IOMMU on (intel_iommu=on, or in the firmware)",
                devices=[str(wanted.address)],
            )
        devices.append(device)
    return tuple(devices)


def _check_known(snapshot: HostSnapshot, groups: Sequence[Group]) -> None:
    """A member that could not be read may be anything: its group is given to nobody."""
    for group in groups:
        for address in group.members:
            member = snapshot.devices.get(address)
            if member is None or member.unsettled:
                raise RefusedError(
                    Reason.kernel,
                    f"{address.short} of group {group.number} cannot be read now",
                    hint="the kernel is busy with it, or sysfs is odd; look with isoctl show",
                    devices=[str(address)],
                )


def check_free(ledger: Ledger, peer: Peer, groups: Sequence[Group]) -> None:
    """Raises RefusedError for a group that somebody has, or with a member in quarantine."""
    for group in groups:
        for address in group.members:
            entry = ledger.quarantined.get(address)
            if entry is not None:
                raise RefusedError(
                    Reason.quarantined,
                    f"{address.short} is quarantined: {entry.why}",
                    hint=f"look at the reason, then: isoctl quarantine clear {address.short}",
                    devices=[str(address)],
                )
        lease = ledger.owner_of(group.number)
        if lease is None:
            continue
        verb = "leased" if lease.state is State.leased else lease.state.public
        shown = holder(lease, peer)
        raise RefusedError(
            Reason.group_busy,
            f"group {group.number} is {verb}",
            devices=[str(address) for address in group.members],
            holder=shown.model_dump(exclude_none=True) if shown else None,
        )
