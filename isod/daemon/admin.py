"""What only an administrator may ask, on the admin socket: everybody's leases, revocation,
quarantine, and the policy read anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import trio
from pydantic import BaseModel

from isod.core import view
from isod.core.consider import UNKNOWN_HINT
from isod.model import reply, request
from isod.model.event import Cleared, Quarantined, Revoke
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, Refusal, RefusedError
from isod.policy import folder
from isod.policy.folder import PolicyError

from .admin_rights import AdminRights
from .grants import Begun
from .identify import Identity
from .listing import lease_page
from .outcome import Outcome
from .world import World


class Admin:
    """The methods of the admin socket. ``folders`` hold the policy."""

    def __init__(
        self, world: World, folders: Sequence[Path], rights: AdminRights, nursery: trio.Nursery
    ) -> None:
        self._rights = rights
        self._world = world
        self._folders = tuple(folders)
        self._nursery = nursery
        self.on_policy: Callable[[], None] = lambda: None

    def leases(self, who: Identity, params: request.Page) -> BaseModel:
        """Everybody's leases."""
        return lease_page(self._world.ledger.leases.values(), params)

    def revoke(self, who: Identity, params: request.RevokeLease) -> reply.RevokeResult:
        """Take a lease back, as its terms say; ``now`` leaves out the asking."""
        if params.lease not in self._world.ledger.leases:
            raise RefusedError(Reason.not_found, f"there is no lease {params.lease}")
        self._world.apply(Revoke(params.lease, "revoked by an administrator", params.now))
        return view.revoked(self._world.ledger.leases[params.lease])

    def set_quarantine(self, who: Identity, params: request.SetQuarantine) -> reply.Quarantines:
        """Give a device, and so its group, to nobody any more. A lease that has it keeps it until
        it ends."""
        device = self._world.snapshot.devices.get(params.address)
        if device is None:
            raise RefusedError(Reason.not_found, f"there is no device {params.address.short}")
        entry = QuarantineEntry.of(device, params.why)
        self._world.apply(Quarantined(entry))
        return self.quarantines(who, request.NoParams())

    def clear_quarantine(self, who: Identity, params: request.ClearQuarantine) -> reply.Quarantines:
        """Trust a device again, whether it is there or not; or all those that are not on record."""
        ledger, address = self._world.ledger, params.address
        if address is None and ledger.unknown is None:
            raise RefusedError(
                Reason.not_found,
                "what is in quarantine is known",
                hint="isoctl quarantine list shows what is",
            )
        if address is not None and address not in ledger.quarantined:
            raise RefusedError(
                Reason.not_found,
                f"{address.short} is not on record as quarantined",
                hint="isoctl quarantine list shows what is"
                if ledger.unknown is None
                else UNKNOWN_HINT,
            )
        self._world.apply(Cleared(address))
        return self.quarantines(who, request.NoParams())

    def quarantines(self, who: Identity, params: request.NoParams) -> reply.Quarantines:
        """The devices that are given to nobody, and why."""
        return view.quarantines(self._world.ledger, self._world.snapshot)

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
        world.use_policy(policy)
        self.on_policy()
        warnings = (*policy.warnings, *await self.let_in())
        for warning in warnings:
            world.journal.record("policy", warning)
        world.publisher.policy_reloaded(policy.number)
        world.journal.record("policy", f"policy {policy.number}: {len(policy.rules)} rules")
        return reply.Reloaded(policy=policy.number, rules=len(policy.rules), warnings=warnings)

    async def let_in(self) -> tuple[str, ...]:
        """Open the admin socket to those whom the policy names, and to nobody else."""
        return await trio.to_thread.run_sync(self._rights.give, self._world.policy.admins)
