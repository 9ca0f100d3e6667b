"""A write to sysfs that a client makes hang keeps the service manager from nothing."""

from __future__ import annotations

import time

import pytest

from tests.lab.hardware import Hardware
from tests.vmm.broker import driver_of

from .client import Client
from .init import Init, until_driver

pytestmark = pytest.mark.lab(kernels=("7.2",), limit=900)

# What a restart may take longer than one with nothing stuck; the guest is emulated.
SECONDS = 5.0


def seconds_to_restart(init: Init) -> float:
    """Until systemctl says that the new one is ready."""
    began = time.monotonic()
    init.run("systemctl", "restart", "isod.service")
    return time.monotonic() - began


def test_restarts_with_an_unbind_stuck(init: Init, hardware: Hardware) -> None:
    """A client has a copy of an unbound cdev's fd past its lease: the fence waits in the kernel."""
    nvme, other = hardware.nvme, hardware.two_functions[0]
    driver = driver_of(other)
    with Client(init) as keeper, Client(init) as client:
        keeper.do("connect")
        usual = seconds_to_restart(init)
        keeper.do("connect")
        assert isinstance(keeper.do("acquire", device=nvme), str)
        keeper.do("keep", device=nvme)
        keeper.do("close", device=nvme)
        helper = until_stuck(init)
        took = seconds_to_restart(init)
        print(f"a restart took {usual:.1f} s, and with an unbind stuck {took:.1f} s")
        assert took < usual + SECONDS
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
    deadline = time.monotonic() + 60
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
