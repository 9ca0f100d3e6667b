"""What a refusal says of its roll-back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isod.model.event import Returned
from isod.model.lease import LeaseDevice
from isod.model.reason import Refusal


def with_undone(refusal: Refusal, returned: Sequence[LeaseDevice], event: Returned) -> Refusal:
    """The reply to a request that failed half-way says what was put back and what was not, of the
    devices that the way back was about."""
    problems = {str(address): problem.message for address, problem in event.problems}
    touched = [str(device.address) for device in returned if device.touched]
    undone = sorted(address for address in touched if address not in problems)
    details = {**refusal.details, "undone": undone}
    if problems:
        details["not_undone"] = problems
    return replace(refusal, details=details)
