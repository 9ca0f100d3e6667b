"""The fence: an unbind that returns only when no file of the device is open."""

from __future__ import annotations

import errno
import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

from isod.kernel.simulated import calls, outside
from isod.kernel.simulated.fence import wait
from isod.kernel.simulated.host import Host
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.kernel.simulated.pending import FinishedFence, WaitingFence
from isod.model.reason import Reason
from isod.model.step import Bind, Fence, Restore

from .played import Child, Played, errno_of, ready, reason_of


def start(played: Played, at: str) -> FinishedFence | WaitingFence:
    device = played.device(at)
    pending = played.kernel.start(Fence(device.address, device.generation))
    assert isinstance(pending, FinishedFence | WaitingFence)
    return pending


def test_nothing_open_returns_at_once(demo: Played) -> None:
    demo.give("02:00.0")
    pending = start(demo, "02:00.0")
    assert isinstance(pending, FinishedFence)
    assert ready(pending.fileno(), 0)
    pending.finish()
    device = demo.device("02:00.0")
    assert (device.driver, device.cdev, device.enabled) == (None, None, 0)


def test_an_unbound_cdev_is_waited_for(demo: Played) -> None:
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    pending = start(demo, "02:00.0")
    assert not ready(pending.fileno(), 0)
    os.close(opened)
    assert ready(pending.fileno())
    pending.finish()
    assert demo.device("02:00.0").driver is None
    assert not list((demo.directory / "pending").iterdir())


def test_the_change_is_told_at_once_and_at_the_end(demo: Played, stack: ExitStack) -> None:
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    watch = demo.kernel.watch()
    stack.callback(watch.close)
    device = demo.device("02:00.0")
    pending = start(demo, "02:00.0")
    assert watch.read().addresses == {device.address}
    now = demo.device("02:00.0")
    assert (now.driver, now.cdev) == (None, None), "the links go before the wait"
    assert errno_of(lambda: calls.open_cdev(demo.directory, "vfio0")) == errno.ENOENT
    os.close(opened)
    assert ready(pending.fileno())
    assert watch.read().addresses == {device.address}
    pending.finish()


def test_a_device_opened_by_its_group_is_waited_for(demo: Played) -> None:
    demo.give("02:00.0")
    container, group = demo.in_container(13)
    device = calls.get_device_fd(group, "0000:02:00.0")
    os.close(container)
    pending = start(demo, "02:00.0")
    os.close(group)
    assert not ready(pending.fileno(), 0)
    assert errno_of(lambda: calls.open_group(demo.directory, 13)) == errno.EBUSY
    os.close(device)
    assert ready(pending.fileno())
    pending.finish()
    assert errno_of(lambda: calls.open_group(demo.directory, 13)) == errno.ENOENT


def test_a_stale_cdev_cannot_bind_during_the_wait_nor_after(demo: Played, stack: ExitStack) -> None:
    demo.give("02:00.0")
    iommufd = demo.iommufd()
    stack.callback(os.close, iommufd)
    opened = demo.open_cdev("02:00.0")
    pending = start(demo, "02:00.0")
    assert errno_of(lambda: calls.bind_iommufd(opened, iommufd)) == errno.EAGAIN
    os.close(opened)
    assert ready(pending.fileno())
    pending.finish()


def test_a_close_during_the_wait_skips_the_reset(demo: Played, stack: ExitStack) -> None:
    demo.give("02:00.0")
    iommufd = demo.iommufd()
    stack.callback(os.close, iommufd)
    device = demo.bound("02:00.0", iommufd)
    pending = start(demo, "02:00.0")
    os.close(device)
    assert ready(pending.fileno())
    pending.finish()
    assert [seen.cause for seen in outside.resets(demo.directory)] == ["open"]


def test_it_goes_on_when_abandoned_and_when_the_daemon_dies(demo: Played) -> None:
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    device = demo.device("02:00.0")

    def play(theirs: socket.socket) -> None:
        os.close(opened)
        kernel = SimulatedKernel(demo.directory)
        pending = kernel.start(Fence(device.address, device.generation))
        assert isinstance(pending, WaitingFence)
        theirs.send(b"fencing")
        theirs.recv(1)

    daemon = Child(play)
    assert daemon.hear() == b"fencing"
    daemon.kill()
    again = start(demo, "02:00.0")
    assert isinstance(again, WaitingFence)
    again.abandon()
    third = start(demo, "02:00.0")
    os.close(opened)
    assert ready(third.fileno())
    third.finish()
    assert demo.device("02:00.0").driver is None


def test_killed_waiters_do_not_stop_the_unbind(demo: Played) -> None:
    """As in the kernel, where the writer cannot be killed: the next who looks finds it done."""
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    name = "0000:02:00.0"
    waiter = Child(lambda theirs: wait(Host(demo.directory), name))
    pending = start(demo, "02:00.0")
    assert isinstance(pending, WaitingFence)
    waiter.kill()
    os.kill(_process(pending), signal.SIGKILL)
    assert ready(pending.fileno()), "an early end shows"
    assert reason_of(pending.finish) is Reason.kernel
    os.close(opened)
    assert demo.device("02:00.0").driver is None
    assert not list((demo.directory / "pending").iterdir())
    demo.give("02:00.0")


def test_while_it_waits_no_other_driver_gets_the_device(demo: Played) -> None:
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    device = demo.device("02:00.0")
    pending = start(demo, "02:00.0")
    for step in (
        Bind(device.address, device.generation, "vfio-pci"),
        Restore(device.address, device.generation, "nvme", None),
    ):
        assert reason_of(lambda step=step: demo.run(step)) is Reason.kernel  # type: ignore[misc]
    os.close(opened)
    assert ready(pending.fileno())
    pending.finish()
    demo.restore("02:00.0", "nvme")


def test_done_already_for_devices_elsewhere_or_gone(demo: Played) -> None:
    device = demo.device("02:00.0")
    assert isinstance(start(demo, "02:00.0"), FinishedFence)
    assert demo.device("02:00.0").driver == "nvme"
    outside.unplug(demo.directory, "0000:02:00.0")
    outside.replug(demo.directory, "0000:02:00.0")
    demo.give("02:00.0")
    demo.kernel.start(Fence(device.address, device.generation)).finish()
    assert demo.device("02:00.0").driver == "vfio-pci", "another generation is left alone"


def test_the_helper_holds_nothing_of_ours(demo: Played, stack: ExitStack) -> None:
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    os.set_inheritable(opened, True)
    pending = start(demo, "02:00.0")
    assert isinstance(pending, WaitingFence)
    os.close(opened)
    assert ready(pending.fileno()), "it would wait for itself"
    pending.finish()


def test_abandoned_helpers_are_reaped(demo: Played) -> None:
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    pending = start(demo, "02:00.0")
    assert isinstance(pending, WaitingFence)
    process = _process(pending)
    pending.abandon()
    os.close(opened)
    exited = os.pidfd_open(process)
    assert ready(exited)
    os.close(exited)
    demo.kernel.close()
    assert not Path(f"/proc/{process}").exists()


def _process(pending: FinishedFence | WaitingFence) -> int:
    assert isinstance(pending, WaitingFence)
    assert pending.process is not None
    return pending.process
