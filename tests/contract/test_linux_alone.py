"""What only a real kernel can show."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.kernel.linux.uevent import UeventSocket
from isod.model.step import Fence

from .acts import PATIENCE_SECONDS, again, readable
from .cases.fencing import opened_group
from .linux_host import Guest, LinuxHostUnderTest


@pytest.fixture
def host() -> Iterator[LinuxHostUnderTest]:
    guest = Guest()
    found = LinuxHostUnderTest(guest)
    yield found
    found.close()
    guest.close()


@pytest.mark.lab(kernels=("7.2",), topology="standard")
def test_an_overflow_of_events_means_rescan() -> None:
    watch = UeventSocket()
    with socket.socket(fileno=os.dup(watch.fileno())) as copy:
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(100):
        Path("/sys/class/mem/null/uevent").write_text("change")
    assert watch.read().rescan
    assert not watch.read().rescan
    watch.close()


@pytest.mark.lab(kernels=("6.1",), topology="standard")
def test_a_device_whose_lock_is_held_is_unsettled(host: LinuxHostUnderTest) -> None:
    """6.1 shows ``driver_override`` under the device's lock: a plain read would hang."""
    device = host.device("single")
    _, files = opened_group(host, device)
    pending = host.kernel.start(Fence(device.address, device.generation))
    assert not readable(pending, 0.5)
    found = again(host, device.address)
    assert found.unsettled
    assert (found.driver, found.driver_override) == (None, None)
    for descriptor in files:
        os.close(descriptor)
    assert readable(pending, PATIENCE_SECONDS)
    pending.finish()
    assert again(host, device.address).driver_override == "vfio-pci"
