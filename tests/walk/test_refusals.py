"""Refusals: each says exactly what is wrong, and leaves everything as it was."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import calls, faults, outside
from isod.kernel.simulated.hosts import FIRMWARE_MAPPING, NO_ISOLATED_MSI, SRIOV
from isod.model.reason import Reason
from isod.model.reply import DeviceInfo
from isod.wire.packet import close_all

from . import policy
from .borrowers import OTHER_UID, UID
from .conftest import Raise, Start
from .stage import Stage

BRIDGED, FREE = "0000:04:02.0", "0000:08:00.0"
RULES = (
    policy.NOTHING
    + policy.rule("careful", what=f'[{{ address = "pci:{BRIDGED}" }}]', take_from=["e1000"])
    + policy.rule("cdev-only", what=f'[{{ address = "pci:{FREE}" }}]', hand_over=["iommufd"])
    + policy.rule()
)


def refused(stage: Stage, *devices: str, **wishes: Any) -> Refused:
    """The refusal of an acquire; nothing may have changed after it."""
    before = stage.picture()
    with pytest.raises(Refused) as caught:
        stage.control.acquire(devices, **wishes).close()
    stage.until_restored()
    assert stage.picture() == before
    return caught.value


def seen(stage: Stage, name: str) -> DeviceInfo:
    """A device as the daemon sees it."""
    return next(one for one in stage.control.devices() if one.address.name == name)


def test_the_second_asker_learns_who_has_it_if_it_is_its_own(stage: Stage, borrower: Start) -> None:
    owner, other = borrower(uid=UID), borrower(uid=OTHER_UID)
    owner.connect(stage)
    other.connect(stage)
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    lease = owner.do("acquire", devices=[pair])
    with pytest.raises(Refused) as caught:
        owner.do("acquire", devices=[sibling])
    assert caught.value.code == 1001
    assert caught.value.retry
    holder = caught.value.data["holder"]
    assert isinstance(holder, dict)
    assert holder["lease"] == lease["id"]
    with pytest.raises(Refused) as caught:
        other.do("acquire", devices=[sibling])
    assert caught.value.reason is Reason.group_busy
    if UID != OTHER_UID:
        assert caught.value.data["holder"] == {"yours": False}


@pytest.mark.parametrize("times", [1, 2])
def test_a_bind_that_fails_half_way_is_rolled_back(stage: Stage, times: int) -> None:
    """The reply names the step, and what was undone: nothing that was not begun."""
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    which = (pair, sibling)[times - 1]
    faults.fail(stage.machine.root, "bind", which, errno.EIO, times=1)
    refusal = refused(stage, pair, hand_over="iommufd")
    assert refusal.reason is Reason.kernel
    assert refusal.data["step"] == "bind"
    assert refusal.data["errno"] == errno.EIO
    assert refusal.data["undone"] == [f"pci:{one}" for one in (pair, sibling)[:times]]
    assert "not_undone" not in refusal.data
    stage.control.acquire([pair]).close()


@pytest.mark.parametrize(
    ("step", "hand_over"),
    [
        ("unbind", "iommufd"),
        ("probe", "iommufd"),
        ("limit", "iommufd"),
        ("open_iommufd", "iommufd"),
        ("open_group", "group"),
        ("grant_nodes", "nodes"),
    ],
)
def test_every_step_that_fails_is_rolled_back(stage: Stage, step: str, hand_over: Any) -> None:
    faults.fail(stage.machine.root, step, None, errno.EIO, times=1)
    refusal = refused(stage, stage.machine.device("pair"), hand_over=hand_over)
    assert refusal.data["step"] == step
    assert refusal.data["errno"] == errno.EIO


@pytest.mark.parametrize("hand_over", ["iommufd", "group", "nodes"])
def test_held_by_another_root_program(stage: Stage, hand_over: Any) -> None:
    root, single = stage.machine.root, stage.machine.device("single")
    outside.unbind_driver(root, single)
    outside.write(root, single, "driver_override", "vfio-pci")
    outside.bind_driver(root, single, "vfio-pci")
    stage.daemon.until(lambda: seen(stage, single).driver == "vfio-pci", "not noticed")
    held = calls.open_group(root, seen(stage, single).group or 0)
    try:
        with pytest.raises(Refused) as caught:
            stage.control.acquire([single], hand_over=hand_over).close()
        assert caught.value.reason is Reason.held_outside
        assert stage.picture()[single].driver == "vfio-pci", "taken from another program"
    finally:
        close_all([held])
        outside.unbind_driver(root, single)
        outside.write(root, single, "driver_override", "")
        outside.probe_drivers(root, single)
        stage.daemon.until(lambda: seen(stage, single).driver == "nvme", "not noticed")


def test_a_free_device_that_another_program_uses_is_listed_as_held(stage: Stage) -> None:
    root, single = stage.machine.root, stage.machine.device("single")
    outside.unbind_driver(root, single)
    outside.write(root, single, "driver_override", "vfio-pci")
    outside.bind_driver(root, single, "vfio-pci")
    stage.daemon.until(lambda: seen(stage, single).driver == "vfio-pci", "not noticed")
    held = [calls.open_group(root, seen(stage, single).group or 0), calls.open_container(root)]
    calls.set_container(*held)
    calls.set_iommu(held[1])
    held.append(calls.get_device_fd(held[0], single))

    def listed() -> str | None:
        return seen(stage, single).held_outside

    try:
        stage.daemon.until(lambda: listed() == "another program", "it is not listed", 20.0)
        assert seen(stage, single).state == "free"
        close_all(held)
        held.clear()
        stage.daemon.until(lambda: listed() is None, "it stays listed", 20.0)
    finally:
        close_all(held)
        outside.unbind_driver(root, single)
        outside.write(root, single, "driver_override", "")
        outside.probe_drivers(root, single)
        stage.daemon.until(lambda: seen(stage, single).driver == "nvme", "not noticed")


def test_a_member_that_cannot_be_parked(stage: Stage) -> None:
    refusal = refused(stage, BRIDGED)
    assert refusal.reason is Reason.not_viable
    assert "shpchp" in refusal.message
    assert "shpchp" in refusal.hint
    assert refusal.data["devices"] == ["pci:0000:03:00.0"]


def test_a_hand_over_outside_of_the_terms(stage: Stage) -> None:
    refusal = refused(stage, FREE, hand_over="nodes")
    assert refusal.reason is Reason.terms
    assert refusal.data["term"] == "hand_over"
    assert "iommufd" in refusal.hint


def test_more_memory_than_the_terms_allow(stage: Stage) -> None:
    refusal = refused(stage, stage.machine.device("single"), memlock=policy.MEMLOCK + 1)
    assert refusal.reason is Reason.terms
    assert refusal.data["term"] == "memlock"


def test_what_is_not_there_or_not_to_be_had(stage: Stage) -> None:
    assert refused(stage, "0000:77:00.0").reason is Reason.not_found
    assert refused(stage, "0000:41:00.0").reason is Reason.unsupported  # behind no IOMMU
    assert refused(stage, "0000:03:00.0").reason is Reason.unsupported  # a bridge
    single = stage.machine.device("single")
    with stage.line() as line:
        for wanted, reason in (
            ([{"address": f"pci:{single}", "generation": 1}], "gone"),
            ([{"address": f"pci:{single}"}, {"address": f"pci:{single}"}], "terms"),
        ):
            error = line.ask("lease.acquire", devices=wanted)["error"]
            assert error["data"]["reason"] == reason


def test_no_isolated_msi(raised: Raise) -> None:
    stage = raised(NO_ISOLATED_MSI)
    for hand_over in ("iommufd", "group"):
        refusal = refused(stage, "0000:01:00.0", hand_over=hand_over)
        assert refusal.reason is Reason.no_isolated_msi
        assert refusal.data["errno"] == errno.EPERM


def test_firmware_mapping(raised: Raise) -> None:
    stage = raised(FIRMWARE_MAPPING)
    refusal = refused(stage, "0000:01:00.0")
    assert refusal.reason is Reason.firmware_mapping
    assert "0xe8000" in refusal.message


def test_a_physical_function_with_virtual_ones(raised: Raise) -> None:
    stage = raised(SRIOV)
    refusal = refused(stage, "0000:01:00.0")
    assert refusal.reason is Reason.reset_domain_shared
    assert refusal.data["devices"] == ["pci:0000:01:10.0", "pci:0000:02:10.0"]
    stage.control.acquire(["0000:02:10.0"]).close()
