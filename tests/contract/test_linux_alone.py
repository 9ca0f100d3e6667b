"""What only a real kernel can show."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isod.kernel.linux.hot_reset import hot_reset
from isod.kernel.linux.uevent import UeventSocket
from isod.model.address import Address
from isod.model.reason import Reason, RefusedError
from isod.model.step import Fence

from .acts import PATIENCE_SECONDS, again, fence, readable, take
from .cases.fencing import opened_group
from .cases.resetting import endpoints, hot_reset_step
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


@pytest.mark.lab(kernels=("7.2",), topology="standard")
def test_a_set_is_reset_by_cdevs_where_there_are_no_containers(host: LinuxHostUnderTest) -> None:
    """As on a kernel without VFIO_CONTAINER; this one has both."""
    members = endpoints(host, host.device("behind_bridge"))
    for member in members:
        take(host, member)
    features = replace(host.kernel.snapshot(1).features, container=False)
    step = hot_reset_step(host, members)
    assert hot_reset(host.root, features, step).warnings == ()
    with pytest.raises(RefusedError) as caught:
        hot_reset(host.root, features, hot_reset_step(host, members[:1]))
    assert caught.value.refusal.reason is Reason.reset_domain_shared
    for member in members:
        fence(host.kernel, member)


@pytest.mark.lab(kernels=("7.2",), topology="standard")
def test_an_mdev_is_in_the_picture_with_its_parent_and_its_fake_group(
    host: LinuxHostUnderTest,
) -> None:
    types = Path("/sys/class/mdev_bus/mtty/mdev_supported_types")
    uuid = "c9a3b6d2-5d0e-4c53-9a55-6d1f0c8f2b11"
    address = Address("mdev", uuid)
    (next(iter(sorted(types.iterdir()))) / "create").write_text(uuid)
    try:
        snapshot = host.kernel.snapshot(1)
        found = snapshot.devices[address]
        assert found.parent == Address("mtty", "mtty")
        assert host.kernel.look(address) == found
        group = snapshot.group_of(address)
        assert group is not None
        assert group.members == (address,)
        assert group.kind == "unknown"
    finally:
        Path(f"/sys/bus/mdev/devices/{uuid}/remove").write_text("1")
    assert host.kernel.look(address) is None
