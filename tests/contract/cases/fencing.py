"""The fence: proof that nobody has a device open."""

from __future__ import annotations

import errno
import os

from isod.model.host import Device
from isod.model.step import Fence, GroupName, OpenGroup, OpenIommufd
from tests.contract.acts import (
    PATIENCE_SECONDS,
    again,
    close_files,
    failing,
    fence,
    give_back,
    lease_device,
    readable,
    require,
    take,
    take_group,
)
from tests.contract.host_under_test import HostUnderTest

# How long to look whether a fence ends that must not: it cannot be waited for.
GLANCE_SECONDS = 0.5


def opened_group(host: HostUnderTest, device: Device) -> tuple[GroupName, list[int]]:
    """Take the device's group and open it; its files."""
    group = take_group(host, device)
    result = host.kernel.run(OpenGroup((group,), (device.address,)))
    return group, [file.descriptor for file in result.files]


class FencingCases:
    def test_a_closed_device_is_fenced_at_once(self, host: HostUnderTest) -> None:
        device = host.device("single")
        take(host, device)
        fence(host.kernel, device)
        fenced = again(host, device.address)
        assert fenced.driver is None
        assert fenced.cdev is None

    def test_it_waits_for_an_open_device(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = host.device("single")
        _, files = opened_group(host, device)
        pending = host.kernel.start(Fence(device.address, device.generation))
        assert not readable(pending, GLANCE_SECONDS)
        for descriptor in files:
            os.close(descriptor)
        assert readable(pending, PATIENCE_SECONDS)
        pending.finish()
        assert give_back(host, device).driver == device.driver

    def test_it_waits_for_an_unbound_cdev_that_never_binds_again(self, host: HostUnderTest) -> None:
        require(host, "iommufd")
        device = host.device("single")
        taken = take(host, device)
        assert taken.cdev is not None
        stale = host.open_cdev(taken.cdev)
        pending = host.kernel.start(Fence(device.address, device.generation))
        assert not readable(pending, GLANCE_SECONDS)
        with failing(errno.ENODEV, errno.EINVAL, errno.EAGAIN):
            os.close(host.bind_cdev(stale))
        assert not readable(pending, GLANCE_SECONDS)
        os.close(stale)
        assert readable(pending, PATIENCE_SECONDS)
        pending.finish()
        assert give_back(host, device).driver == device.driver

    def test_a_second_one_waits_for_the_first(self, host: HostUnderTest) -> None:
        """As after a restart: an earlier daemon's unbind is still under way."""
        device = host.device("single")
        taken = take(host, device)
        group = take_group(host, taken)
        if host.lacks("iommufd") is None:
            files = host.kernel.run(OpenIommufd((device.address,))).files
        else:
            files = host.kernel.run(OpenGroup((group,), (device.address,))).files
        earlier = host.new_kernel()
        first = earlier.start(Fence(device.address, device.generation))
        assert not readable(first, GLANCE_SECONDS)
        first.abandon()
        earlier.close()
        second = host.kernel.start(Fence(device.address, device.generation))
        assert not readable(second, GLANCE_SECONDS)
        for file in files:
            os.close(file.descriptor)
        assert readable(second, PATIENCE_SECONDS)
        second.finish()
        assert again(host, device.address).driver is None

    def test_looking_does_not_wait_with_it(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = host.device("single")
        other = host.device("pair")
        group, files = opened_group(host, device)
        pending = host.kernel.start(Fence(device.address, device.generation))
        assert not readable(pending, GLANCE_SECONDS)
        found = again(host, device.address)
        assert found.generation == device.generation
        assert found.group == device.group
        # Off its driver already as far as can be seen: its group tells that it is in use.
        use = host.kernel.use([lease_device(device)], [group])
        assert (use.open, use.busy_groups) == ((), (group.number,))
        assert device.address in host.kernel.snapshot(1).devices
        # Others go on meanwhile.
        take(host, other)
        assert give_back(host, other) == other
        for descriptor in files:
            os.close(descriptor)
        assert readable(pending, PATIENCE_SECONDS)
        pending.finish()
        assert not again(host, device.address).unsettled

    def test_two_devices_are_fenced_side_by_side(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = host.device("pair")
        _, files = opened_group(host, device)
        assert device.group is not None
        members = host.kernel.snapshot(1).members(device.group)
        pending = [host.kernel.start(Fence(one.address, one.generation)) for one in members]
        # Only the first of the two was opened.
        assert not readable(pending[0], GLANCE_SECONDS)
        for descriptor in files:
            os.close(descriptor)
        for one in pending:
            assert readable(one, PATIENCE_SECONDS)
            one.finish()
        assert all(again(host, member.address).driver is None for member in members)

    def test_a_kernel_driver_is_left_alone(self, host: HostUnderTest) -> None:
        device = host.device("single")
        fence(host.kernel, device)
        assert again(host, device.address) == device

    def test_another_instance_is_fenced_already(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = host.device("single")
        group = take_group(host, device)
        taken = again(host, device.address)
        result = host.kernel.run(OpenGroup((group,), (device.address,)))
        pending = host.kernel.start(Fence(device.address, device.generation + 1))
        assert readable(pending, PATIENCE_SECONDS)
        pending.finish()
        close_files(result)
        assert again(host, device.address).driver == taken.driver
