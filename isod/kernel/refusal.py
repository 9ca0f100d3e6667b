"""How a kernel's errors become refusals, in the same words whichever kernel it is."""

from __future__ import annotations

import os

from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import GroupName


def refused_by_kernel(what: str, number: int, *, hint: str | None = None) -> RefusedError:
    """The kernel refused an act; ``number`` is its errno."""
    message = f"{what}: {os.strerror(number)}"
    return RefusedError(Reason.kernel, message, hint=hint, errno=number)


def gone(address: Address) -> RefusedError:
    """The device of that generation is not there any more."""
    return RefusedError(Reason.gone, f"{address} is gone", devices=[str(address)])


def group_gone(group: GroupName) -> RefusedError:
    """The group of that generation is not there any more."""
    return RefusedError(Reason.gone, f"group {group.number} is gone")


def held_outside(what: str, number: int) -> RefusedError:
    """Another program has it open."""
    return RefusedError(Reason.held_outside, f"{what} is held by another program", errno=number)
