"""Resets between two owners: they hit what they may and nothing else, and leave nothing open."""

from __future__ import annotations

import errno

import pytest

from isod.model.host import Device
from isod.model.lease import LeaseDevice
from isod.model.reason import Reason, RefusedError
from isod.model.step import HotReset, OpenGroup, Reset, Unbind
from tests.contract.acts import (
    again,
    close_files,
    fence,
    give_back,
    group_name,
    refusal,
    require,
    take,
)
from tests.contract.host_under_test import HostUnderTest


def endpoints(host: HostUnderTest, device: Device) -> list[Device]:
    """The endpoints of the device's group; a bridge's own driver is taken from it."""
    assert device.group is not None
    members = host.kernel.snapshot(1).members(device.group)
    for bridge in members:
        if bridge.is_bridge and bridge.driver == "shpchp":
            host.kernel.run(Unbind(bridge.address, bridge.generation, "shpchp", None))
    return [member for member in members if not member.is_bridge]


def hot_reset_step(
    host: HostUnderTest, members: list[Device], *, required: bool = True
) -> HotReset:
    first = members[0]
    return HotReset(
        first.address,
        first.generation,
        tuple((member.address, member.generation) for member in members),
        (group_name(host, first),),
        required,
    )


def idle(host: HostUnderTest, members: list[Device]) -> bool:
    devices = [LeaseDevice(m.address, m.generation, m.group or 0, "requested") for m in members]
    return host.kernel.use(devices, [group_name(host, members[0])]).idle


class ResettingCases:
    def test_a_set_is_reset_and_nothing_stays_open(self, host: HostUnderTest) -> None:
        """A fence would wait for what stayed open."""
        members = endpoints(host, host.device("behind_bridge"))
        for member in members:
            take(host, member)
        assert host.kernel.run(hot_reset_step(host, members)).warnings == ()
        assert idle(host, members)
        for member in members:
            fence(host.kernel, member)
            assert give_back(host, member).driver == member.driver

    def test_a_set_with_somebody_elses_function_is_left_alone(self, host: HostUnderTest) -> None:
        members = endpoints(host, host.device("behind_bridge"))
        for member in members:
            take(host, member)
        refused = refusal(
            host.kernel, hot_reset_step(host, members[:1]), Reason.reset_domain_shared
        )
        assert refused.details["devices"] == [str(members[1].address)]
        assert idle(host, members)

    def test_a_member_on_no_driver_forbids_it(self, host: HostUnderTest) -> None:
        members = endpoints(host, host.device("behind_bridge"))
        for member in members:
            take(host, member)
        fence(host.kernel, members[1])
        refusal(host.kernel, hot_reset_step(host, members), Reason.reset_domain_shared)

    def test_what_another_program_has_open_is_not_reset(self, host: HostUnderTest) -> None:
        require(host, "container")
        members = endpoints(host, host.device("behind_bridge"))
        for member in members:
            take(host, member)
        opened = host.kernel.run(OpenGroup((group_name(host, members[0]),), ()))
        refusal(host.kernel, hot_reset_step(host, members), Reason.held_outside)
        close_files(opened)
        assert host.kernel.run(hot_reset_step(host, members)).warnings == ()

    def test_a_reset_that_fails_is_a_failure_or_a_remark(self, host: HostUnderTest) -> None:
        """Below the first root port, which is so emulated."""
        members = endpoints(host, host.device("pair"))
        for member in members:
            take(host, member)
        with pytest.raises(RefusedError) as caught:
            host.kernel.run(hot_reset_step(host, members))
        assert caught.value.refusal.reason is Reason.kernel
        assert caught.value.refusal.details["errno"] == errno.ENOTTY
        (remark,) = host.kernel.run(hot_reset_step(host, members, required=False)).warnings
        assert "failed" in remark
        assert idle(host, members)

    def test_another_instance_is_not_reset(self, host: HostUnderTest) -> None:
        members = endpoints(host, host.device("behind_bridge"))
        for member in members:
            take(host, member)
        step = hot_reset_step(host, members)
        other = HotReset(step.address, step.generation + 1, step.members, step.groups, True)
        refusal(host.kernel, other, Reason.gone)

    def test_a_function_is_reset_by_itself(self, host: HostUnderTest) -> None:
        device = take(host, host.device("single"))
        assert host.kernel.run(Reset(device.address, device.generation, True)).warnings == ()
        assert again(host, device.address).driver == "vfio-pci"
