"""Groups and containers answer as drivers/vfio/group.c and container.c do."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from isod.kernel.simulated import calls, outside

from .played import Played, errno_of


@pytest.fixture
def pair(demo: Played) -> Played:
    """Both functions of group 12 on vfio-pci."""
    demo.give("01:00.0", "01:00.1")
    return demo


def test_without_a_member_on_vfio_there_is_no_node(demo: Played) -> None:
    assert errno_of(lambda: calls.open_group(demo.directory, 12)) == errno.ENOENT


def test_a_group_goes_through_container_and_iommu(pair: Played, stack: ExitStack) -> None:
    container = pair.container()
    stack.callback(os.close, container)
    group = calls.open_group(pair.directory, 12)
    stack.callback(os.close, group)
    assert calls.get_status(group) == calls.GroupStatus(viable=True, container_set=False)
    assert errno_of(lambda: calls.set_iommu(container)) == errno.EINVAL
    name = "0000:01:00.0"
    assert errno_of(lambda: calls.get_device_fd(group, name)) == errno.EINVAL
    calls.set_container(group, container)
    assert calls.get_status(group).container_set
    assert errno_of(lambda: calls.set_container(group, container)) == errno.EINVAL
    assert errno_of(lambda: calls.get_device_fd(group, name)) == errno.EINVAL
    assert errno_of(lambda: calls.set_iommu(container, 7)) == errno.ENODEV
    assert errno_of(lambda: calls.set_iommu(container, calls.NOIOMMU)) == errno.ENODEV
    calls.set_iommu(container)
    assert errno_of(lambda: calls.set_iommu(container)) == errno.EINVAL
    device = calls.get_device_fd(group, name)
    stack.callback(os.close, device)
    assert pair.device("01:00.0").enabled == 1
    assert pair.device("01:00.1").enabled == 0
    again = calls.get_device_fd(group, name)
    stack.callback(os.close, again)
    assert errno_of(lambda: calls.get_device_fd(group, "0000:02:00.0")) == errno.ENODEV
    assert calls.config_read(device, 0, 4) == bytes.fromhex("8680d310")


def test_a_parked_sibling_is_within_reach(pair: Played, stack: ExitStack) -> None:
    container, group = pair.in_container(12)
    stack.callback(os.close, container)
    stack.callback(os.close, group)
    os.close(calls.get_device_fd(group, "0000:01:00.1"))


def test_a_device_pins_its_group(pair: Played) -> None:
    container, group = pair.in_container(12)
    device = calls.get_device_fd(group, "0000:01:00.0")
    os.close(group)
    os.close(container)
    assert errno_of(lambda: calls.open_group(pair.directory, 12)) == errno.EBUSY
    assert pair.use("01:00.0").busy_groups == (12,)
    assert calls.hot_reset_info(device).dependents[0].group == 12
    os.close(device)
    assert pair.use("01:00.0").idle
    os.close(calls.open_group(pair.directory, 12))


def test_unset_container_waits_for_its_devices(pair: Played, stack: ExitStack) -> None:
    container, group = pair.in_container(12)
    stack.callback(os.close, container)
    stack.callback(os.close, group)
    device = calls.get_device_fd(group, "0000:01:00.0")
    assert errno_of(lambda: calls.unset_container(group)) == errno.EBUSY
    os.close(device)
    calls.unset_container(group)
    assert errno_of(lambda: calls.unset_container(group)) == errno.EINVAL
    calls.set_container(group, container)
    calls.set_iommu(container)


def test_a_container_without_groups_is_new_again(pair: Played, stack: ExitStack) -> None:
    container, group = pair.in_container(12)
    stack.callback(os.close, container)
    os.close(group)
    assert errno_of(lambda: calls.map_dma(container, 0, 4096)) == errno.EINVAL
    _, group = pair.in_container(12, container)
    stack.callback(os.close, group)
    calls.set_iommu(container)
    calls.map_dma(container, 0, 4096)


def test_several_groups_share_a_container(pair: Played, stack: ExitStack) -> None:
    pair.give("02:00.0")
    container, group = pair.in_container(12)
    _, other = pair.in_container(13, container)
    for descriptor in (container, group, other):
        stack.callback(os.close, descriptor)
    stack.callback(os.close, calls.get_device_fd(other, "0000:02:00.0"))


def test_a_driver_that_manages_dma_blocks_the_group(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0")
    container = demo.container()
    stack.callback(os.close, container)
    group = calls.open_group(demo.directory, 12)
    stack.callback(os.close, group)
    assert not calls.get_status(group).viable
    assert errno_of(lambda: calls.set_container(group, container)) == errno.EPERM
    outside.unbind_driver(demo.directory, "0000:01:00.1")
    assert calls.get_status(group).viable, "an unbound member is fine"
    calls.set_container(group, container)


def test_pci_stub_and_pcieport_do_not_block(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0")
    outside.unbind_driver(demo.directory, "0000:01:00.1")
    outside.write(demo.directory, "0000:01:00.1", "driver_override", "pci-stub")
    outside.probe_drivers(demo.directory, "0000:01:00.1")
    assert demo.device("01:00.1").driver == "pci-stub"
    container, group = demo.in_container(12)
    stack.callback(os.close, container)
    stack.callback(os.close, group)


def test_shpchp_on_the_bridge_blocks_until_it_is_unbound(
    standard: Played, stack: ExitStack
) -> None:
    standard.give("04:01.0", "04:02.0")
    group = calls.open_group(standard.directory, 7)
    stack.callback(os.close, group)
    assert not calls.get_status(group).viable
    outside.unbind_driver(standard.directory, "0000:03:00.0")
    assert calls.get_status(group).viable


def test_an_owned_group_keeps_kernel_drivers_out(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0", "01:00.1")
    demo.fence("01:00.1")
    outside.write(demo.directory, "0000:01:00.1", "driver_override", "")
    container, group = demo.in_container(12)
    stack.callback(os.close, container)
    name = "0000:01:00.1"
    refused = errno_of(lambda: outside.bind_driver(demo.directory, name, "e1000e"))
    assert refused == errno.EBUSY
    assert errno_of(lambda: outside.probe_drivers(demo.directory, name)) == errno.EINVAL
    os.close(group)
    outside.probe_drivers(demo.directory, name)
    assert demo.device("01:00.1").driver == "e1000e"


def test_an_open_group_is_owned_by_nobody(demo: Played, stack: ExitStack) -> None:
    demo.give("01:00.0")
    outside.unbind_driver(demo.directory, "0000:01:00.1")
    stack.callback(os.close, calls.open_group(demo.directory, 12))
    outside.probe_drivers(demo.directory, "0000:01:00.1")
    assert demo.device("01:00.1").driver == "e1000e"


def test_firmware_mappings_forbid_the_claim(tmp_path: Path, stack: ExitStack) -> None:
    played = Played(tmp_path / "host", "firmware-mapping")
    played.give("01:00.0")
    container = played.container()
    stack.callback(os.close, container)
    group = calls.open_group(played.directory, 2)
    stack.callback(os.close, group)
    assert calls.get_status(group).viable
    assert errno_of(lambda: calls.set_container(group, container)) == errno.EINVAL


def test_without_isolated_msi_only_the_iommu_is_refused(tmp_path: Path, stack: ExitStack) -> None:
    played = Played(tmp_path / "host", "no-isolated-msi")
    played.give("01:00.0")
    container = played.container()
    stack.callback(os.close, container)
    group = calls.open_group(played.directory, 2)
    stack.callback(os.close, group)
    assert calls.get_status(group).viable
    calls.set_container(group, container)
    assert errno_of(lambda: calls.set_iommu(container)) == errno.EPERM


def test_a_group_file_outlived_by_its_group_is_dead(demo: Played, stack: ExitStack) -> None:
    """An unbind waits for devices, not for a group that is merely open."""
    demo.give("02:00.0")
    group = calls.open_group(demo.directory, 13)
    stack.callback(os.close, group)
    demo.fence("02:00.0")
    assert errno_of(lambda: calls.get_status(group)) == errno.ENODEV
    demo.give("02:00.0")
    assert errno_of(lambda: calls.get_status(group)) == errno.ENODEV
    assert errno_of(lambda: calls.get_device_fd(group, "0000:02:00.0")) == errno.ENODEV
    os.close(calls.open_group(demo.directory, 13))
