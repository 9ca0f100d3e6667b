"""A write to sysfs that a client makes hang keeps the service manager from nothing."""

from __future__ import annotations

import time

import pytest

from tests.lab.hardware import Hardware
from tests.lab.waiting import seconds_waited
from tests.vmm.broker import driver_of

from .client import Client
from .init import READY_SECONDS, Init, outside, until_driver, until_ended

pytestmark = pytest.mark.lab(kernels=("7.2",), limit=1200)

# How long isod may wait, for whatever it is, from SIGTERM until its process has ended; and how much
# longer than usual until the next one is ready, which waits for files of the host. Not what that
# takes: here it is emulated, and a real machine takes less in all (tests/walk/test_restart.py).
SECONDS = 5.0


def restart(init: Init) -> tuple[float, float]:
    """How long it waited until the former process had ended, and in all, until systemctl says that
    the new one is ready."""
    former = outside(init.show("isod.service", "MainPID")["MainPID"])

    def stop() -> None:
        init.run("systemctl", "restart", "--no-block", "isod.service")
        until_ended(former)

    stopped = seconds_waited(stop)
    # It joins the restart, which goes on by itself.
    return stopped, stopped + seconds_waited(lambda: init.run("systemctl", "start", "isod.service"))


def test_restarts_with_an_unbind_stuck(init: Init, hardware: Hardware) -> None:
    """A client has a copy of an unbound cdev's fd past its lease: the fence waits in the kernel."""
    nvme, other = hardware.nvme, hardware.two_functions[0]
    driver = driver_of(other)
    with Client(init) as keeper, Client(init) as client:
        keeper.do("connect")
        _, usual = restart(init)
        keeper.do("connect")
        assert isinstance(keeper.do("acquire", device=nvme), str)
        keeper.do("keep", device=nvme)
        keeper.do("close", device=nvme)
        helper = until_stuck(init)
        assert seconds_waited(lambda: init.run("sleep", "2")) > 1, "waiting is not seen"
        stopped, waited = restart(init)
        print(f"a restart waited {usual:.1f} s; with an unbind stuck {waited:.1f} s, ", end="")
        print(f"{stopped:.1f} s of it until the former process had ended")
        assert stopped < SECONDS
        assert waited < usual + SECONDS
        assert is_stuck(init, helper)
        client.do("connect")
        assert client.do("acquire", device=nvme) == {"refused": "group_busy"}
        assert isinstance(client.do("acquire", device=other), str)
        client.do("close", device=other)
        until_driver(other, driver)
        keeper.do("let_go")
        until_driver(nvme, "nvme")


def until_stuck(init: Init) -> str:
    """Wait until a process of the unit waits in the kernel for a client; its pid."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        for pid in init.run("cat", "/sys/fs/cgroup/system.slice/isod.service/cgroup.procs").split():
            if is_stuck(init, pid):
                return pid
        assert time.monotonic() < deadline, init.log()
        time.sleep(0.2)  # no event tells of it


def is_stuck(init: Init, pid: str) -> bool:
    """Whether it waits in vfio_unregister_group_dev, where sysfs writes to ``unbind`` end up."""
    stack = init.run("cat", f"/proc/{pid}/stack", check=False)
    return "vfio" in stack
