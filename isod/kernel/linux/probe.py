"""Looking whether a group can be owned now, from harmless to thorough."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from isod.kernel.refusal import held_outside, refused_by_kernel
from isod.kernel.scan import pci_directory
from isod.kernel.tree import Directory, UnreadableError, decimal
from isod.model.address import Address
from isod.model.host import Features
from isod.model.reason import Reason, RefusedError
from isod.model.step import Probe, StepResult

from .cdev import bind_privately
from .group import check_group, check_viable, claim, open_container, open_group
from .node import group_node
from .viability import firmware_refusal, viability_refusal


def probe(root: Path, features: Features, step: Probe) -> StepResult:
    """Run a Probe: see there for what it refuses. Everything is closed again."""
    check_group(root, step.group)
    there = (root / "dev" / group_node(root, step.group.number)).exists()
    if step.held_only:
        # Members may still be on kernel drivers: whether it is viable is no question yet.
        if there:
            os.close(open_group(root, step.group))
        return StepResult()
    needs_container = step.hand_over in {"group", "nodes"}
    if needs_container and not features.container:
        raise RefusedError(
            Reason.unsupported,
            "this kernel has no container of its own: its groups are not exclusive",
            hint="ask for hand_over iommufd",
        )
    if needs_container or there:
        descriptor = open_group(root, step.group)
        try:
            check_viable(root, step.group, descriptor)
            if step.full and needs_container:
                container = open_container(root)
                try:
                    claim(root, container, [(step.group, descriptor)])
                finally:
                    # The group leaves the container with its last file.
                    os.close(container)
        finally:
            os.close(descriptor)
    if step.full and not needs_container:
        _bind(root, step)
    return StepResult()


def _bind(root: Path, step: Probe) -> None:
    """The private bind. The group was opened just before, so no cdev of it was bound then."""
    try:
        bind_privately(root, step.device)
    except OSError as error:
        number = error.errno or errno.EIO
        raise _bind_refusal(root, step, number) from error


def _bind_refusal(root: Path, step: Probe, number: int) -> RefusedError:
    if number == errno.EBUSY:
        return held_outside(f"group {step.group.number}", number)
    if number == errno.EPERM:
        viability = viability_refusal(root, step.group)
        if viability.refusal.reason is Reason.not_viable:
            return viability
        return RefusedError(
            Reason.no_isolated_msi, "the platform does not isolate interrupts", errno=number
        )
    if number == errno.EINVAL:
        refusal = firmware_refusal(root, step.group)
        if refusal is not None:
            return refusal
        if is_enabled(root, step.device):
            return held_outside(str(step.device), number)
    return refused_by_kernel(f"cannot bind {step.device} to an iommufd", number)


def is_enabled(root: Path, address: Address) -> bool:
    """``enable`` of a device is not 0: a group's device or a bound cdev is open (6.1 to 7.2).
    Unreadable counts as enabled; a device that is gone does not."""
    try:
        with Directory(pci_directory(root) / address.name) as directory:
            return decimal(directory.text("enable")) != 0
    except FileNotFoundError:
        return False
    except UnreadableError:
        return True
