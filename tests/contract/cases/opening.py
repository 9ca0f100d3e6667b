"""What a hand-over opens, and what can be seen of open files."""

from __future__ import annotations

import errno
import os

from isod.model.reason import Reason
from isod.model.step import GroupName, OpenGroup, OpenIommufd, Probe
from tests.contract.acts import (
    again,
    close_files,
    failing,
    files_of,
    lease_device,
    open_descriptors,
    refusal,
    require,
    take,
    take_group,
)
from tests.contract.host_under_test import HostUnderTest


class OpeningCases:
    def test_a_group_comes_with_container_and_devices(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = host.device("pair")
        group = take_group(host, device)
        assert device.group is not None
        members = [member.address for member in host.kernel.snapshot(1).members(device.group)]
        with files_of(host.kernel, OpenGroup((group,), tuple(members))) as result:
            roles = [(file.role, file.group, file.address) for file in result.files]
            assert roles == [
                ("container", None, None),
                ("group", group.number, None),
                ("device", None, members[0]),
                ("device", None, members[1]),
            ]
            assert not any(os.get_inheritable(file.descriptor) for file in result.files)
            with failing(errno.EBUSY):
                host.open_group(group.number)
            refusal(host.kernel, Probe(group, "group", device.address), Reason.held_outside)
        os.close(host.open_group(group.number))

    def test_a_raw_group_comes_without_devices(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = host.device("single")
        group = take_group(host, device)
        step = OpenGroup((group,), (device.address,), ready=False)
        with files_of(host.kernel, step) as result:
            assert [file.role for file in result.files] == ["container", "group"]

    def test_two_groups_share_a_container(self, host: HostUnderTest) -> None:
        require(host, "container")
        first, second = host.device("single"), host.device("pair")
        groups = (take_group(host, first), take_group(host, second))
        step = OpenGroup(groups, (first.address, second.address))
        with files_of(host.kernel, step) as result:
            roles = [file.role for file in result.files]
            assert roles == ["container", "group", "group", "device", "device"]

    def test_a_failed_open_leaves_nothing_open(self, host: HostUnderTest) -> None:
        require(host, "container")
        first, second = host.device("single"), host.device("pair")
        groups = (take_group(host, first), take_group(host, second))
        held = host.open_group(groups[1].number)
        before = open_descriptors()
        step = OpenGroup(groups, (first.address, second.address))
        refusal(host.kernel, step, Reason.held_outside)
        assert open_descriptors() == before
        os.close(held)
        os.close(host.open_group(groups[0].number))

    def test_cdevs_come_unbound(self, host: HostUnderTest) -> None:
        require(host, "iommufd")
        device = host.device("single")
        group = take_group(host, device)
        with files_of(host.kernel, OpenIommufd((device.address,))) as result:
            iommufd, cdev = result.files
            assert (iommufd.role, cdev.role) == ("iommufd", "device")
            assert (cdev.address, cdev.state) == (device.address, "unbound")
            assert not any(os.get_inheritable(file.descriptor) for file in result.files)
            assert result.warnings == ()
            # Unbound: nobody owns the group yet.
            os.close(host.open_group(group.number))
            os.close(host.bind_cdev(cdev.descriptor))
            with failing(errno.EBUSY):
                host.open_group(group.number)
        os.close(host.open_group(group.number))

    def test_further_cdevs_come_without_an_iommufd(self, host: HostUnderTest) -> None:
        require(host, "iommufd")
        device = host.device("pair")
        take_group(host, device)
        with files_of(host.kernel, OpenIommufd((device.address,), iommufd=False)) as result:
            assert [file.role for file in result.files] == ["device"]

    def test_what_is_not_on_vfio_cannot_be_opened(self, host: HostUnderTest) -> None:
        device = host.device("single")
        assert device.group is not None
        group = host.kernel.look_group(device.group)
        assert group is not None
        before = open_descriptors()
        name = GroupName(group.number, group.generation)
        if host.lacks("container") is None:
            refusal(host.kernel, OpenGroup((name,), (device.address,)), Reason.gone)
        if host.lacks("iommufd") is None:
            refusal(host.kernel, OpenIommufd((device.address,)), Reason.unsupported)
        assert open_descriptors() == before


class UseCases:
    def test_a_closed_device_is_idle(self, host: HostUnderTest) -> None:
        device = take(host, host.device("single"))
        group = take_group(host, device)
        assert host.kernel.use([lease_device(device)], [group]).idle

    def test_an_open_group_is_busy(self, host: HostUnderTest) -> None:
        device = take(host, host.device("single"))
        group = take_group(host, device)
        descriptor = host.open_group(group.number)
        use = host.kernel.use([lease_device(device)], [group])
        assert (use.open, use.busy_groups) == ((), (group.number,))
        os.close(descriptor)
        assert host.kernel.use([lease_device(device)], [group]).idle

    def test_an_open_device_is_in_use(self, host: HostUnderTest) -> None:
        require(host, "container")
        device = take(host, host.device("single"))
        group = take_group(host, device)
        result = host.kernel.run(OpenGroup((group,), (device.address,)))
        use = host.kernel.use([lease_device(device)], [group])
        assert (use.open, use.busy_groups) == ((device.address,), (group.number,))
        # The device pins its group: closing group and container frees nothing.
        *others, last = result.files
        for file in others:
            os.close(file.descriptor)
        assert not host.kernel.use([lease_device(device)], [group]).idle
        os.close(last.descriptor)
        assert host.kernel.use([lease_device(device)], [group]).idle

    def test_a_bound_cdev_is_in_use_and_an_unbound_one_is_not(self, host: HostUnderTest) -> None:
        require(host, "iommufd")
        device = take(host, host.device("single"))
        group = take_group(host, device)
        result = host.kernel.run(OpenIommufd((device.address,)))
        assert host.kernel.use([lease_device(device)], [group]).idle
        bound_to = host.bind_cdev(result.files[1].descriptor)
        use = host.kernel.use([lease_device(device)], [group])
        assert (use.open, use.busy_groups) == ((device.address,), (group.number,))
        close_files(result)
        os.close(bound_to)
        assert host.kernel.use([lease_device(device)], [group]).idle

    def test_what_is_gone_is_idle(self, host: HostUnderTest) -> None:
        device = take(host, host.device("single"))
        group = take_group(host, device)
        lease = lease_device(device)
        other = type(lease)(device.address, device.generation + 1, group.number, "requested")
        stale = GroupName(group.number, group.generation + 1)
        descriptor = host.open_group(group.number)
        assert host.kernel.use([other], [stale]).idle
        os.close(descriptor)
        assert again(host, device.address) == device
