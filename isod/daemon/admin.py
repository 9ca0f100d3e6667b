"""What only an administrator may ask, on the admin socket: everybody's leases, revocation,
quarantine, and the policy read anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio
from pydantic import BaseModel

from isod.core import view
from isod.model import reply, request
from isod.model.event import Cleared, Ending, Quarantined
from isod.model.reason import Reason, Refusal, RefusedError
from isod.policy import folder
from isod.policy.folder import PolicyError

from .grants import Begun
from .identify import Identity
from .listing import lease_page
from .outcome import Outcome
from .world import World


class Admin:
    """The methods of the admin socket. ``folders`` hold the policy."""

    def __init__(self, world: World, folders: Sequence[Path], nursery: trio.Nursery) -> None:
        self._world = world
        self._folders = tuple(folders)
        self._nursery = nursery

    def leases(self, who: Identity, params: request.Page) -> BaseModel:
        """Everybody's leases."""
        return lease_page(self._world.ledger.leases.values(), params)

    def revoke(self, who: Identity, params: request.LeaseName) -> reply.LeaseResult:
        """Take a lease back: rights and limits go at once; what is open drains until closed."""
        if params.lease not in self._world.ledger.leases:
            raise RefusedError(Reason.not_found, f"there is no lease {params.lease}")
        self._world.apply(Ending(params.lease, "revoked by an administrator"))
        lease = self._world.ledger.leases[params.lease]
        return reply.LeaseResult(lease=view.lease_info(lease))

    def set_quarantine(self, who: Identity, params: request.SetQuarantine) -> reply.Quarantines:
        """Give a group to nobody any more. A lease that has it keeps it until it ends."""
        if params.group not in self._world.snapshot.groups:
            raise RefusedError(Reason.not_found, f"there is no group {params.group}")
        self._world.apply(Quarantined(params.group, params.why))
        return self.quarantines(who, request.NoParams())

    def clear_quarantine(self, who: Identity, params: request.GroupNumber) -> reply.Quarantines:
        """Trust a group again."""
        if params.group not in self._world.ledger.quarantined:
            raise RefusedError(Reason.not_found, f"group {params.group} is not quarantined")
        self._world.apply(Cleared(params.group))
        return self.quarantines(who, request.NoParams())

    def quarantines(self, who: Identity, params: request.NoParams) -> reply.Quarantines:
        """The groups that are given to nobody, and why."""
        found = sorted(self._world.ledger.quarantined.items())
        groups = tuple(reply.QuarantinedGroup(group=group, why=why) for group, why in found)
        return reply.Quarantines(groups=groups)

    def reload(self, who: Identity, params: request.NoParams) -> Begun:
        """Read the policy anew. On any fault the old one stays."""
        outcome = Outcome()
        self._nursery.start_soon(self._reload, outcome)
        return Begun(outcome)

    async def _reload(self, outcome: Outcome) -> None:
        result = await self.reload_policy()
        outcome.set(result)

    async def reload_policy(self) -> reply.Reloaded | Refusal:
        """Load and use the policy; leases keep the terms that they were granted with."""
        world = self._world
        try:
            policy = await trio.to_thread.run_sync(
                folder.load, self._folders, world.policy.number + 1
            )
        except PolicyError as error:
            for problem in error.problems:
                world.journal.record("policy", f"not used, the old one stays: {problem}")
            text = f"the policy has {len(error.problems)} faults; the old one stays"
            return Refusal(Reason.policy_invalid, text, {"problems": list(error.problems)})
        for warning in policy.warnings:
            world.journal.record("policy", warning)
        world.policy = policy
        world.journal.record("policy", f"policy {policy.number}: {len(policy.rules)} rules")
        return reply.Reloaded(
            policy=policy.number, rules=len(policy.rules), warnings=policy.warnings
        )
