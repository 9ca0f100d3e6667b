"""What both kernels ask around a HotReset, and how they judge what came of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import GroupName, HotReset, StepResult

from .answering import silence
from .refusal import refused_by_kernel

_NOT_OURS = frozenset({errno.EINVAL, errno.EPERM})
_AGAIN = frozenset({errno.EAGAIN, errno.EBUSY})


def cannot_bind(address: Address, error: OSError) -> RefusedError:
    """Somebody else has a member of the set."""
    number = error.errno or errno.EIO
    what = f"{address.short} cannot be bound to an iommufd: {os.strerror(number)}"
    return RefusedError(Reason.held_outside, what, errno=number)


def cannot_ask(step: HotReset, error: OSError) -> RefusedError:
    """The kernel did not say what the reset hits."""
    number = error.errno or errno.EIO
    if number == errno.ENODEV:
        text = f"{step.address.short} has no hot reset"
        return RefusedError(Reason.unsupported, text, errno=number)
    return refused_by_kernel(f"cannot ask what a reset of {step.address.short} hits", number)


def check_strangers(step: HotReset, hit: Sequence[Address], ours: Collection[Address]) -> None:
    """Raises RefusedError if the reset hits what is not the step's."""
    strangers = [address for address in hit if address not in ours]
    if strangers:
        raise RefusedError(
            Reason.reset_domain_shared,
            f"a reset of {step.address.short} would hit {strangers[0].short}, too",
            devices=[str(address) for address in strangers],
        )


def group_of(groups: Mapping[Address, GroupName], address: Address) -> GroupName:
    """The group that the step knows a device in. Raises RefusedError."""
    group = groups.get(address)
    if group is None:
        raise RefusedError(
            Reason.reset_domain_shared,
            f"{address.short} is in another group now",
            devices=[str(address)],
        )
    return group


def judged(root: Path, step: HotReset, hit: Sequence[Address], number: int) -> StepResult:
    """What came of it: ``number`` is the reset's errno, 0 if it went well; then each device that
    was hit has to answer. Raises RefusedError."""
    name = step.address.short
    if number in _NOT_OURS:
        text = f"the kernel does not let isod reset {name} with its whole set"
        raise RefusedError(Reason.reset_domain_shared, text, errno=number)
    if number in _AGAIN:
        text = f"{name} cannot be reset now: {os.strerror(number)}"
        raise RefusedError(Reason.in_use, text, errno=number)
    if number:
        refusal = refused_by_kernel(f"the hot reset of {name} failed", number)
    else:
        dead = [(address, why) for address in hit if (why := silence(root, address)) is not None]
        if not dead:
            return StepResult()
        devices = [str(address) for address, _ in dead]
        refusal = RefusedError(Reason.kernel, dead[0][1], devices=devices)
    if step.required:
        raise refusal
    return StepResult(warnings=(str(refusal),))
