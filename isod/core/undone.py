"""What a refusal says of its roll-back."""

from __future__ import annotations

from dataclasses import replace

from isod.model.event import Returned
from isod.model.lease import Lease
from isod.model.reason import Refusal


def with_undone(refusal: Refusal, lease: Lease, event: Returned) -> Refusal:
    """The reply to a request that failed half-way says what was put back and what was not."""
    problems = {str(address): problem.message for address, problem in event.problems}
    touched = [str(device.address) for device in lease.devices if device.touched]
    undone = [address for address in touched if address not in problems]
    details = {**refusal.details, "undone": undone}
    if problems:
        details["not_undone"] = problems
    return replace(refusal, details=details)
