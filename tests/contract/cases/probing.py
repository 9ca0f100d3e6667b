"""Whether a group can be owned, and what stands in the way."""

from __future__ import annotations

import os

from isod.model.host import Device
from isod.model.reason import Reason
from isod.model.step import GroupName, HandOver, Probe, Unbind
from tests.contract.acts import again, group_name, refusal, require, take, take_group
from tests.contract.host_under_test import HostUnderTest


def hand_overs(host: HostUnderTest) -> list[HandOver]:
    """The hand-overs that this kernel can do."""
    found: list[HandOver] = []
    if host.lacks("iommufd") is None:
        found.append("iommufd")
    if host.lacks("container") is None:
        found += ["group", "nodes"]
    return found


def probes(host: HostUnderTest, group: GroupName, device: Device) -> list[Probe]:
    """Every probe of the group that this kernel can do."""
    return [
        Probe(group, hand_over, device.address, full)
        for hand_over in hand_overs(host)
        for full in (False, True)
    ]


class ProbingCases:
    def test_a_free_group_passes_and_stays_free(self, host: HostUnderTest) -> None:
        device = host.device("single")
        group = take_group(host, device)
        before = again(host, device.address)
        for probe in probes(host, group, device):
            assert host.kernel.run(probe).files == ()
        assert again(host, device.address) == before
        os.close(host.open_group(group.number))

    def test_a_held_group_is_held_outside(self, host: HostUnderTest) -> None:
        device = host.device("single")
        group = take_group(host, device)
        descriptor = host.open_group(group.number)
        for probe in probes(host, group, device):
            refused = refusal(host.kernel, probe, Reason.held_outside)
            assert refused.details["errno"] == 16
        os.close(descriptor)
        for probe in probes(host, group, device):
            host.kernel.run(probe)

    def test_the_first_look_asks_only_whether_it_is_held(self, host: HostUnderTest) -> None:
        """Before a plan changes anything: members may be on kernel drivers still."""
        device = host.device("pair")
        group = group_name(host, device)
        looks = [
            Probe(group, hand_over, device.address, held_only=True)
            for hand_over in hand_overs(host)
        ]
        for look in looks:
            host.kernel.run(look)
        take(host, device)
        for look in looks:
            host.kernel.run(look)
        descriptor = host.open_group(group.number)
        for look in looks:
            refusal(host.kernel, look, Reason.held_outside)
        os.close(descriptor)

    def test_a_bound_cdev_is_held_outside(self, host: HostUnderTest) -> None:
        require(host, "iommufd")
        device = take(host, host.device("single"))
        group = group_name(host, device)
        assert device.cdev is not None
        cdev = host.open_cdev(device.cdev)
        iommufd = host.bind_cdev(cdev)
        for probe in probes(host, group, device):
            refusal(host.kernel, probe, Reason.held_outside)
        os.close(cdev)
        os.close(iommufd)
        for probe in probes(host, group, device):
            host.kernel.run(probe)

    def test_an_unbound_cdev_shows_in_no_probe(self, host: HostUnderTest) -> None:
        require(host, "iommufd")
        device = take(host, host.device("single"))
        assert device.cdev is not None
        cdev = host.open_cdev(device.cdev)
        for probe in probes(host, group_name(host, device), device):
            host.kernel.run(probe)
        os.close(cdev)

    def test_a_member_on_a_kernel_driver_is_named(self, host: HostUnderTest) -> None:
        device = host.device("pair")
        assert device.group is not None
        first, second = host.kernel.snapshot(1).members(device.group)
        take(host, first)
        group = group_name(host, first)
        for probe in probes(host, group, first):
            refused = refusal(host.kernel, probe, Reason.not_viable)
            assert refused.details["devices"] == [str(second.address)]
            assert second.driver is not None
            assert second.driver in refused.message
        host.unbind(second.address)
        for probe in probes(host, group, first):
            host.kernel.run(probe)

    def test_a_bridge_on_shpchp_blocks_until_it_is_unbound(self, host: HostUnderTest) -> None:
        require(host, "shpchp")
        device = host.device("behind_bridge")
        group = take_group(host, device)
        bridge = again(host, device.bridges[0])
        assert bridge.driver == "shpchp"
        for probe in probes(host, group, device):
            refused = refusal(host.kernel, probe, Reason.not_viable)
            assert refused.details["devices"] == [str(bridge.address)]
        host.kernel.run(Unbind(bridge.address, bridge.generation, "shpchp", "none-of-them"))
        for probe in probes(host, group, device):
            host.kernel.run(probe)

    def test_another_group_of_that_number_is_gone(self, host: HostUnderTest) -> None:
        device = host.device("single")
        group = take_group(host, device)
        other = GroupName(group.number, group.generation + 1)
        for probe in probes(host, other, device):
            refusal(host.kernel, probe, Reason.gone)


class WithoutIsolatedMsiCases:
    """On a platform without isolated MSI (topology ``no-isolated-msi``)."""

    def test_only_a_full_probe_tells(self, host: HostUnderTest) -> None:
        device = host.device("single")
        group = take_group(host, device)
        for probe in probes(host, group, device):
            if probe.full:
                refused = refusal(host.kernel, probe, Reason.no_isolated_msi)
                assert refused.details["errno"] == 1
            else:
                host.kernel.run(probe)
        os.close(host.open_group(group.number))
