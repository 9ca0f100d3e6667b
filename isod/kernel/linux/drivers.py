"""Binding and restoring: ``driver_override`` first, so that no probe in between gets it wrong."""

from __future__ import annotations

import errno
from pathlib import Path

from isod.kernel.answering import silence
from isod.kernel.refusal import gone, refused_by_kernel
from isod.model.reason import Reason, RefusedError
from isod.model.step import Bind, Reset, Restore, StepResult, Unbind

from .acts import Acts
from .variants import is_vfio_driver


def unbind(acts: Acts, step: Unbind) -> StepResult:
    """Take a device from a kernel driver. Raises RefusedError."""
    driver = acts.driver(step.address, step.generation)
    if driver is not None and is_vfio_driver(driver):
        if driver == step.override:
            return StepResult()
        raise RefusedError(
            Reason.held_outside, f"{step.address} is on {driver}: somebody else gave it to VFIO"
        )
    if driver not in {None, step.driver}:
        raise RefusedError(
            Reason.in_use_by_driver,
            f"{step.address} is bound to {driver} now, not to {step.driver}",
            devices=[str(step.address)],
        )
    acts.set_override(step.address, step.generation, step.override)
    if driver is not None:
        acts.unbind(step.address, driver)
    left = acts.driver(step.address, step.generation)
    if left is not None:
        raise refused_by_kernel(f"{step.address} is still bound to {left}", errno.EBUSY)
    return StepResult()


def bind(root: Path, acts: Acts, step: Bind) -> StepResult:
    """Bind a driverless device to a vfio driver. Raises RefusedError."""
    driver = acts.driver(step.address, step.generation)
    if driver == step.driver:
        acts.set_override(step.address, step.generation, step.driver)
        return StepResult()
    if driver is not None:
        raise RefusedError(
            Reason.in_use_by_driver,
            f"{step.address} is bound to {driver}",
            devices=[str(step.address)],
        )
    if not (root / "sys/bus/pci/drivers" / step.driver).is_dir():
        raise RefusedError(
            Reason.unsupported,
            f"the driver {step.driver} is not loaded",
            hint=f"load the module of {step.driver} at boot (modules-load.d)",
        )
    acts.set_override(step.address, step.generation, step.driver)
    number = acts.probe_drivers(step.address)
    bound = acts.driver(step.address, step.generation)
    if bound != step.driver:
        raise refused_by_kernel(
            f"{step.driver} did not take {step.address}",
            number or errno.ENODEV,
            hint="the kernel's log says why: a device on the denylist, no cache coherency, a lock",
        )
    return StepResult()


def restore(acts: Acts, step: Restore) -> StepResult:
    """Put override and driver back as they were. Nothing to do for a device that is gone.

    Raises RefusedError when it did not come out as it was.
    """
    try:
        return _restore(acts, step)
    except RefusedError as error:
        if error.refusal.reason is Reason.gone:
            return StepResult()
        raise


def _restore(acts: Acts, step: Restore) -> StepResult:
    driver = acts.driver(step.address, step.generation)
    if driver is not None and is_vfio_driver(driver) and driver != step.driver:
        raise refused_by_kernel(f"{step.address} is still on {driver}, unfenced", errno.EBUSY)
    acts.set_override(step.address, step.generation, step.override)
    number = 0
    if driver is None and (step.driver is not None or (step.own and acts.autoprobes())):
        number = acts.probe_drivers(step.address)
    if acts.override(step.address) != step.override:
        raise refused_by_kernel(f"driver_override of {step.address} did not come back", errno.EIO)
    bound = acts.driver(step.address, step.generation)
    if bound is None and step.driver is not None:
        raise refused_by_kernel(
            f"{step.driver} did not take {step.address} back", number or errno.ENODEV
        )
    if bound != step.driver and not step.own:
        return StepResult(warnings=(f"{step.address} is now bound to {bound}, not {step.driver}",))
    return StepResult()


def reset(root: Path, acts: Acts, step: Reset) -> StepResult:
    """Reset one function. Raises RefusedError if it is required and failed."""
    acts.driver(step.address, step.generation)
    if not (root / "sys/bus/pci/devices" / step.address.name / "reset").exists():
        if step.required:
            raise RefusedError(Reason.unsupported, f"{step.address} has no function reset")
        return StepResult(warnings=(f"{step.address} was not reset: it has no function reset",))
    number = acts.reset(step.address, step.generation)
    if number == errno.ESTALE:
        raise gone(step.address)
    if number:
        refusal = refused_by_kernel(f"{step.address.short} could not be reset", number)
    elif (dead := silence(root, step.address)) is not None:
        refusal = RefusedError(Reason.kernel, dead, devices=[str(step.address)])
    else:
        return StepResult()
    if step.required:
        raise refusal
    return StepResult(warnings=(str(refusal),))
