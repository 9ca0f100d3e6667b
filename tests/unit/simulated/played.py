"""A simulated host in a test's hands, and processes to play with it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from isod.kernel.simulated import calls
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import HOSTS
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.model.address import Address
from isod.model.host import Device
from isod.model.lease import LeaseDevice
from isod.model.reason import Reason, RefusedError
from isod.model.step import Bind, Fence, GroupName, Restore, Step, StepResult, Unbind, Use

PATIENCE = 10.0


class Played:
    """One host, its port, and short ways to say what isod would do."""

    def __init__(self, directory: Path, name: str) -> None:
        build(directory, HOSTS[name])
        self.directory = directory
        self.kernel = SimulatedKernel(directory)

    def device(self, at: str) -> Device:
        found = self.kernel.look(Address.parse(at))
        assert found is not None, at
        return found

    def group(self, number: int) -> GroupName:
        found = self.kernel.look_group(number)
        assert found is not None, number
        return GroupName(number, found.generation)

    def run(self, step: Step) -> StepResult:
        return self.kernel.run(step)

    def give(self, *ats: str) -> None:
        """Bind devices to vfio-pci."""
        for at in ats:
            device = self.device(at)
            if device.driver is not None:
                self.run(Unbind(device.address, device.generation, device.driver, "vfio-pci"))
            self.run(Bind(device.address, device.generation, "vfio-pci"))

    def fence(self, at: str) -> StepResult:
        """Fence a device and wait for it."""
        device = self.device(at)
        pending = self.kernel.start(Fence(device.address, device.generation))
        assert ready(pending.fileno()), "the fence still waits"
        return pending.finish()

    def restore(self, at: str, driver: str | None) -> StepResult:
        device = self.device(at)
        return self.run(Restore(device.address, device.generation, driver, None))

    def open_cdev(self, at: str) -> int:
        cdev = self.device(at).cdev
        assert cdev is not None
        return calls.open_cdev(self.directory, cdev)

    def bound(self, at: str, iommufd: int) -> int:
        """A cdev of the device, bound to an iommufd."""
        device = self.open_cdev(at)
        calls.bind_iommufd(device, iommufd)
        return device

    def iommufd(self) -> int:
        return calls.open_iommufd(self.directory)

    def container(self) -> int:
        return calls.open_container(self.directory)

    def in_container(self, number: int, container: int | None = None) -> tuple[int, int]:
        """Container and group, ready for GET_DEVICE_FD."""
        ready_made = container is not None
        container = self.container() if container is None else container
        group = calls.open_group(self.directory, number)
        calls.set_container(group, container)
        if not ready_made:
            calls.set_iommu(container)
        return container, group

    def use(self, at: str) -> Use:
        device = self.device(at)
        assert device.group is not None
        lease = LeaseDevice(device.address, device.generation, device.group, "requested")
        return self.kernel.use([lease], [self.group(device.group)])


def ready(descriptor: int, patience: float = PATIENCE) -> bool:
    """Whether an fd becomes readable within so many seconds."""
    return bool(select.select([descriptor], [], [], patience)[0])


def errno_of(call: Callable[[], object]) -> int | None:
    """The errno with which a call fails; None if it does not."""
    try:
        call()
    except OSError as error:
        return error.errno
    return None


def reason_of(call: Callable[[], object]) -> Reason | None:
    """The reason with which a step is refused; None if it is not."""
    try:
        call()
    except RefusedError as error:
        return error.refusal.reason
    return None


class Child:
    """A forked process that runs a function with its end of a socket, then waits to be told."""

    def __init__(self, play: Callable[[socket.socket], None]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                self.socket.close()
                play(theirs)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def hear(self) -> bytes:
        return self.socket.recv(4096)

    def tell(self, word: bytes) -> None:
        self.socket.send(word)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.end()

    def end(self) -> int:
        """Wait for the process; its exit status."""
        self.socket.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
