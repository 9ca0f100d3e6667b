"""Faults on order: steps that fail, and steps that hang."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from isod.kernel.simulated import faults
from isod.model.reason import RefusedError
from isod.model.step import Bind, Fence, OpenIommufd, Reset, Unbind

from .played import Played


def test_a_step_fails_for_one_device(demo: Played) -> None:
    faults.fail(demo.directory, "bind", "0000:01:00.1", errno.EIO)
    demo.give("01:00.0")
    with pytest.raises(RefusedError) as raised:
        demo.give("01:00.1")
    assert raised.value.refusal.details["errno"] == errno.EIO
    faults.mend(demo.directory, "bind", "0000:01:00.1")
    demo.give("01:00.1")


def test_a_step_fails_so_many_times(demo: Played) -> None:
    demo.give("02:00.0")
    device = demo.device("02:00.0")
    faults.fail(demo.directory, "fence", None, errno.EIO, times=2)
    for _ in range(2):
        with pytest.raises(RefusedError):
            demo.kernel.start(Fence(device.address, device.generation))
    demo.fence("02:00.0")


def test_a_fault_of_one_step_leaves_the_others(demo: Played) -> None:
    faults.fail(demo.directory, "open_iommufd", "0000:02:00.0", errno.EMFILE)
    demo.give("02:00.0")
    with pytest.raises(RefusedError):
        demo.run(OpenIommufd((demo.device("02:00.0").address,)))
    for file in demo.run(OpenIommufd(())).files:
        os.close(file.descriptor)


def test_a_step_hangs_until_it_is_let_go(demo: Played) -> None:
    device = demo.device("02:00.0")
    demo.run(Unbind(device.address, device.generation, "nvme", "vfio-pci"))
    begun = threading.Event()

    def bind() -> None:
        begun.set()
        demo.run(Bind(device.address, device.generation, "vfio-pci"))

    with faults.hang(demo.directory, "bind", "0000:02:00.0"):
        thread = threading.Thread(target=bind)
        thread.start()
        begun.wait()
        # Nobody else is held up by it.
        demo.give("01:00.0")
        assert demo.device("02:00.0").driver is None
    thread.join()
    assert demo.device("02:00.0").driver == "vfio-pci"


def reset_step(demo: Played, required: bool) -> Reset:
    device = demo.device("02:00.0")
    return Reset(device.address, device.generation, required)


def test_a_reset_fails(demo: Played) -> None:
    faults.fail(demo.directory, "resetting", "0000:02:00.0", errno.ENOTTY)
    with pytest.raises(RefusedError) as raised:
        demo.run(reset_step(demo, required=True))
    assert raised.value.refusal.details["errno"] == errno.ENOTTY
    (remark,) = demo.run(reset_step(demo, required=False)).warnings
    assert "could not be reset" in remark
    faults.mend(demo.directory, "resetting", "0000:02:00.0")
    assert demo.run(reset_step(demo, required=True)).warnings == ()


def test_a_device_dies_of_its_reset_until_it_is_mended(demo: Played) -> None:
    faults.fail(demo.directory, "dies", "0000:02:00.0", 0)
    with pytest.raises(RefusedError, match="does not answer"):
        demo.run(reset_step(demo, required=True))
    (remark,) = demo.run(reset_step(demo, required=False)).warnings
    assert "does not answer" in remark
    faults.mend(demo.directory, "dies", "0000:02:00.0")
    assert demo.run(reset_step(demo, required=True)).warnings == ()
