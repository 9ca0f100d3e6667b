"""The fence: unbinds that have returned, whoever began them."""

from __future__ import annotations

import errno
from pathlib import Path

from isod.kernel.helper import Helpers, PendingWrites, Write
from isod.kernel.refusal import refused_by_kernel
from isod.kernel.scan import pci_directory
from isod.kernel.tree import Directory, UnreadableError
from isod.model.reason import Reason, RefusedError
from isod.model.step import Fence, StepResult

from .variants import vfio_drivers


def fence_writes(root: Path, step: Fence) -> list[Write]:
    """What to write so that no file of the device is open when all of it has returned.

    The ``driver`` link cannot tell whether there is something to wait for: an unbind removes it
    first and then waits (drivers/base/dd.c, __device_release_driver). That unbind may be an
    earlier daemon's. So the device is unbound from every vfio driver that is loaded. The bus
    compares the device's driver, which stays set until the release is done
    (drivers/base/bus.c, unbind_store): ENODEV means that it is on another driver or none,
    and a write beside a pending one waits for the device's lock until that one is through.
    Nothing to write for a device that is gone: its directory goes after its driver.
    """
    if step.address.bus != "pci":
        raise RefusedError(Reason.unsupported, f"{step.address} is no PCI device")
    try:
        with Directory(pci_directory(root) / step.address.name) as directory:
            if directory.generation != step.generation:
                return []
        drivers = vfio_drivers(root)
    except FileNotFoundError:
        return []
    except UnreadableError as error:
        raise refused_by_kernel(f"cannot read {step.address}", error.errno) from error
    return [Write(f"bus/pci/drivers/{driver}/unbind", step.address.name) for driver in drivers]


class PendingFence:
    """A fence under way in a helper process."""

    def __init__(self, helpers: Helpers, step: Fence, writes: list[Write]) -> None:
        self._step = step
        try:
            self._writes: PendingWrites = helpers.start(writes)
        except OSError as error:
            raise refused_by_kernel(
                f"cannot start the helper for {step.address}", error.errno or errno.EIO
            ) from error

    def fileno(self) -> int:
        return self._writes.fileno()

    def finish(self) -> StepResult:
        """Raises RefusedError when the fence proved nothing: begin another."""
        what = f"the fence of {self._step.address}"
        try:
            numbers = self._writes.finish()
        except OSError as error:
            raise refused_by_kernel(
                f"{what} ended without a result", error.errno or errno.EIO
            ) from error
        for number in numbers:
            if number not in {0, errno.ENODEV}:
                raise refused_by_kernel(what, number)
        return StepResult()

    def abandon(self) -> None:
        self._writes.abandon()
