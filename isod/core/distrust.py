"""What isod does not dare to give out after a way back that went wrong.

What could not be scrubbed as its rule demands (``core.scrub``); what did not go back to its driver,
since the next lease would take the state that it is in now for the one to go back to; and what its
former owner may open still.
"""

from __future__ import annotations

from collections.abc import Iterable

from isod.model.address import Address
from isod.model.lease import Lease
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Refusal
from isod.model.step import RevokeNodes

from .scrub import unclean


def after_return(
    lease: Lease, problems: Iterable[tuple[Address, Refusal]]
) -> tuple[QuarantineEntry, ...]:
    """The devices of a lease that its way back leaves in doubt, each once, with all that is wrong
    with it. ``problems`` are those of the steps, by the device that a step is named after."""
    whys: dict[Address, list[str]] = {}
    for address, problem in problems:
        for entry in (*unclean(lease, address, problem), *_stranded(lease, address, problem)):
            whys.setdefault(entry.address, []).append(entry.why)
    return tuple(
        QuarantineEntry.of(device, "; ".join(whys[device.address]))
        for device in lease.devices
        if device.address in whys
    )


def open_to_its_owner(
    lease: Lease, step: RevokeNodes, refusal: Refusal
) -> tuple[QuarantineEntry, ...]:
    """The devices of a lease behind nodes on which the owner's rights could not be taken back."""
    numbers = {group.number for group in step.groups}
    why = f"its node may be open still to user {step.uid} of lease {lease.id}: {refusal.message}"
    return tuple(
        QuarantineEntry.of(device, why)
        for device in lease.devices
        if device.group in numbers and not device.bridge
    )


def _stranded(lease: Lease, address: Address, problem: Refusal) -> tuple[QuarantineEntry, ...]:
    if problem.details.get("step") != "restore":
        return ()
    return tuple(
        QuarantineEntry.of(
            device,
            f"did not go back to {device.former_driver or 'no driver'} after lease {lease.id}: "
            f"{problem.message}",
        )
        for device in lease.devices
        if device.address == address
    )
