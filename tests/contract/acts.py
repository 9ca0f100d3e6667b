"""What nearly every case does: taking a device, fencing it, waiting for an fd, closing files."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.kernel.port import Kernel, Pending, Watch
from isod.model.address import Address
from isod.model.host import VFIO_PCI, Device, HostChange
from isod.model.lease import LeaseDevice
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.step import Bind, Fence, GroupName, Restore, Step, StepResult, Unbind

from .host_under_test import Ability, HostUnderTest

# Far beyond what anything here takes, also on an emulated machine that others share.
PATIENCE_SECONDS = 60.0


def require(host: HostUnderTest, *abilities: Ability) -> None:
    """Skip the case where the host lacks an ability, with the host's reason."""
    for ability in abilities:
        reason = host.lacks(ability)
        if reason is not None:
            pytest.skip(f"{ability}: {reason}")


def again(host: HostUnderTest, address: Address) -> Device:
    """The device as it is now."""
    found = host.kernel.look(address)
    assert found is not None
    return found


def group_name(host: HostUnderTest, device: Device) -> GroupName:
    """The device's group with its generation."""
    assert device.group is not None
    group = host.kernel.look_group(device.group)
    assert group is not None
    return GroupName(group.number, group.generation)


def take(host: HostUnderTest, device: Device, sibling: bool = False) -> Device:
    """Unbind from the kernel driver and bind to vfio-pci; the device afterwards."""
    if device.driver is not None:
        host.kernel.run(Unbind(device.address, device.generation, device.driver, VFIO_PCI))
    host.kernel.run(Bind(device.address, device.generation, VFIO_PCI, sibling))
    return again(host, device.address)


def take_group(host: HostUnderTest, device: Device) -> GroupName:
    """Take every endpoint of the device's group; the group."""
    name = group_name(host, device)
    group = host.kernel.look_group(name.number)
    assert group is not None
    for address in group.members:
        member = again(host, address)
        if not member.is_bridge:
            take(host, member)
    return name


def fence(kernel: Kernel, device: Device) -> StepResult:
    """Fence a device that nobody has open."""
    pending = kernel.start(Fence(device.address, device.generation))
    assert readable(pending, PATIENCE_SECONDS)
    return pending.finish()


def give_back(host: HostUnderTest, former: Device) -> Device:
    """Fence and restore a device to what it was; the device afterwards."""
    fence(host.kernel, former)
    host.kernel.run(
        Restore(former.address, former.generation, former.driver, former.driver_override)
    )
    return again(host, former.address)


def readable(file: Pending | int, seconds: float) -> bool:
    """Whether a file becomes readable within a time."""
    poll = select.poll()
    poll.register(file if isinstance(file, int) else file.fileno(), select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def await_change(watch: Watch, wanted: Address | str) -> HostChange:
    """Read news until an address or a node is among them."""
    while True:
        poll = select.poll()
        for number in watch.filenos():
            poll.register(number, select.POLLIN)
        assert poll.poll(PATIENCE_SECONDS * 1000), f"no news of {wanted}"
        change = watch.read()
        if wanted in change.nodes or wanted in change.addresses:
            return change


def refusal(kernel: Kernel, step: Step, reason: Reason) -> Refusal:
    """Run a step that must be refused with that reason; the refusal."""
    with pytest.raises(RefusedError) as caught:
        close_files(kernel.run(step))
    assert caught.value.refusal.reason is reason, caught.value
    return caught.value.refusal


@contextlib.contextmanager
def failing(*numbers: int) -> Iterator[None]:
    """The block must end in an OSError with one of these errnos."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno in numbers, caught.value


def close_files(result: StepResult) -> None:
    """Close what a step opened."""
    for file in result.files:
        os.close(file.descriptor)


@contextlib.contextmanager
def files_of(kernel: Kernel, step: Step) -> Iterator[StepResult]:
    """Run a step and close at the end what it opened."""
    result = kernel.run(step)
    try:
        yield result
    finally:
        close_files(result)


def lease_device(device: Device) -> LeaseDevice:
    """The device as a lease names it."""
    assert device.group is not None
    return LeaseDevice(device.address, device.generation, device.group, "requested")


def open_descriptors() -> dict[str, str]:
    """This process's fds and what they are."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = str(path.readlink())
    # The listing itself.
    return {name: target for name, target in found.items() if not target.startswith("/proc/")}
