"""News: what the kernel reports, and what closes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from isod.kernel.port import Watch
from isod.model.host import HostChange
from tests.contract.acts import await_change, fence, give_back, require, take, take_group
from tests.contract.host_under_test import HostUnderTest


class WatchingCases:
    @pytest.fixture
    def watch(self, host: HostUnderTest) -> Iterator[Watch]:
        found = host.kernel.watch()
        yield found
        found.close()

    def test_binding_is_reported(self, host: HostUnderTest, watch: Watch) -> None:
        require(host, "uevents")
        device = host.device("single")
        assert watch.read() == HostChange()
        take(host, device)
        await_change(watch, device.address)
        watch.read()
        give_back(host, device)
        await_change(watch, device.address)

    def test_hotplug_is_reported(self, host: HostUnderTest, watch: Watch) -> None:
        require(host, "uevents", "hotplug")
        device = host.device("single")
        host.unplug(device.address)
        await_change(watch, device.address)
        watch.read()
        host.replug(device.address)
        await_change(watch, device.address)

    def test_a_closed_group_is_reported(self, host: HostUnderTest, watch: Watch) -> None:
        group = take_group(host, host.device("single"))
        watch.watch_groups([group.number])
        descriptor = host.open_group(group.number)
        copy = os.dup(descriptor)
        os.close(descriptor)
        assert watch.read().nodes == frozenset()
        os.close(copy)
        assert await_change(watch, f"vfio/{group.number}").nodes == {f"vfio/{group.number}"}

    def test_a_closed_cdev_is_reported(self, host: HostUnderTest, watch: Watch) -> None:
        require(host, "iommufd")
        device = take(host, host.device("single"))
        assert device.group is not None
        assert device.cdev is not None
        watch.watch_groups([device.group])
        os.close(host.open_cdev(device.cdev))
        await_change(watch, f"vfio/devices/{device.cdev}")

    def test_only_the_named_groups_are_watched(self, host: HostUnderTest, watch: Watch) -> None:
        first = take_group(host, host.device("single"))
        second = take_group(host, host.device("pair"))
        watch.watch_groups([first.number, second.number])
        watch.watch_groups([second.number])
        os.close(host.open_group(first.number))
        os.close(host.open_group(second.number))
        change = await_change(watch, f"vfio/{second.number}")
        assert change.nodes == {f"vfio/{second.number}"}
        watch.watch_groups([])
        os.close(host.open_group(second.number))
        assert watch.read().nodes == frozenset()

    def test_a_group_without_a_node_is_passed_over(self, host: HostUnderTest, watch: Watch) -> None:
        group = take_group(host, host.device("single"))
        watch.watch_groups([999999, group.number])
        os.close(host.open_group(group.number))
        await_change(watch, f"vfio/{group.number}")
        fence(host.kernel, host.device("single"))


class HotplugCases:
    def test_a_device_that_comes_back_is_another(self, host: HostUnderTest) -> None:
        require(host, "hotplug")
        device = host.device("single")
        host.unplug(device.address)
        assert host.kernel.look(device.address) is None
        snapshot = host.kernel.snapshot(1)
        assert device.address not in snapshot.devices
        assert device.group not in snapshot.groups
        host.replug(device.address)
        back = host.device("single")
        assert back.address == device.address
        assert back.generation != device.generation
        assert back.product == device.product
        assert back.group is not None
        fence(host.kernel, device)
        assert not back.on_vfio
