"""What must hold between any two steps, by the shell's own books."""

from __future__ import annotations

from collections import Counter

from isod.model.address import Address
from isod.model.effect import GiveBack, Prepare
from isod.model.lease import Lease, State

from .promises import check_quotas
from .shell import Shell


def check(shell: Shell) -> None:
    """What must hold between any two steps."""
    owners: Counter[int] = Counter()
    for lease in shell.ledger.leases.values():
        owners.update(group.number for group in lease.groups)
    assert all(count == 1 for count in owners.values()), "a group with two owners"
    for name, held in (*shell.holders.items(), *shell.ours.items()):
        for address in held:
            group = shell.host.devices[address].group
            assert group is not None
            owner = shell.ledger.owner_of(group)
            assert owner is not None, f"{address} is open and free"
            assert owner.id == name, f"{address} is open by another than its owner"
    assert shell.store.keys() == shell.ledger.leases.keys()
    assert shell.timers.keys() <= shell.ledger.leases.keys(), "a timer of a lease that is gone"
    assert shell.quarantine == shell.ledger.quarantined, "what is quarantined was forgotten"
    _check_operations(shell)
    _check_rights(shell)
    check_quotas(shell)
    for together in shell.isolation.joined():
        has = {owner.id for n in together if (owner := shell.ledger.owner_of(n)) is not None}
        _check_owners(shell, [lease for lease in shell.ledger.leases.values() if lease.id in has])


def _check_owners(shell: Shell, owners: list[Lease]) -> None:
    """Who shares an isolation group knows it, and all but one are on their way out."""
    if len(owners) < 2 or not shell.told:
        return
    assert all(owner.conflict for owner in owners), "an isolation group has owners in peace"
    staying = [one for one in owners if one.ending is None and one.revocation is None]
    assert len(staying) <= 1, f"{[one.id for one in staying]} share an isolation group"


def _check_operations(shell: Shell) -> None:
    """No two operations at a time on what shares a fate."""
    busy: set[Address] = set()
    for effect in shell.todo:
        if isinstance(effect, Prepare | GiveBack):
            there = [d for d in effect.lease.devices if shell.is_there(d)]
            fate = {shell.fates[device.address] for device in there}
            assert busy.isdisjoint(fate), f"{effect.lease.id} meets another operation"
            busy |= fate


def _check_rights(shell: Shell) -> None:
    """Who may open a node has a lease of its group."""
    for name, uid in shell.rights:
        owner = shell.ledger.owner_of(name.number)
        assert owner is not None, f"uid {uid} may open group {name.number}, which is free"
        assert owner.owner.uid == uid, f"uid {uid} may open group {name.number} of another"
        assert owner.state not in {State.fencing, State.scrubbing}, f"{owner.id} is fenced"
