"""What cannot be had, on every kernel: the reason is told and all is as before."""

from __future__ import annotations

from typing import Any

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason
from tests.lab.hardware import Hardware
from tests.lab.selection import GuestName
from tests.walk.stage import Stage
from tests.walk.test_refusals import seen

from .outside import deaf_override, open_group, taken_for_vfio

pytestmark = pytest.mark.lab(kernels=("6.1", "6.12", "7.2"), topology="standard")


def refused(stage: Stage, device: str, hand_over: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        stage.control.acquire([device], hand_over=hand_over).close()
    return caught.value


def hand_overs(guest: GuestName) -> list[str]:
    return ["group", "nodes", *(["iommufd"] if guest.kernel == "7.2" else [])]


def test_held_by_another_root_program(stage: Stage, lab_guest: GuestName) -> None:
    single = stage.machine.device("single")
    with taken_for_vfio(single), open_group(single):
        stage.daemon.until(lambda: seen(stage, single).driver == "vfio-pci", "not noticed")
        for hand_over in hand_overs(lab_guest):
            assert refused(stage, single, hand_over).reason is Reason.held_outside
            assert stage.picture()[single].driver == "vfio-pci", "taken from another program"
    stage.daemon.until(lambda: seen(stage, single).driver == "nvme", "not noticed")


def test_a_bridge_driver_that_may_not_be_taken(stage: Stage, hardware: Hardware) -> None:
    if hardware.function(hardware.bridge).driver != "shpchp":
        pytest.skip("the bridge is not on shpchp here")
    nic = hardware.bridge_nics[1]
    refusal = refused(stage, nic, "group")
    assert refusal.reason is Reason.not_viable
    assert "shpchp" in refusal.message
    assert refusal.data["devices"] == [f"pci:{hardware.bridge}"]
    assert not stage.changes()


def test_a_bind_that_fails_half_way_is_rolled_back(stage: Stage, lab_guest: GuestName) -> None:
    """The first of two is bound by then."""
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    with deaf_override(sibling):
        for hand_over in hand_overs(lab_guest):
            refusal = refused(stage, pair, hand_over)
            assert refusal.reason is Reason.kernel, refusal
            assert refusal.data["step"] == "bind"
            assert "not_undone" not in refusal.data
            assert set(refusal.data["undone"]) == {f"pci:{pair}", f"pci:{sibling}"}  # type: ignore[call-overload]
            stage.until_restored()
    stage.control.acquire([pair], hand_over="group").close()


def test_a_device_without_a_group(stage: Stage, hardware: Hardware) -> None:
    assert refused(stage, hardware.groupless, None).reason is Reason.unsupported


@pytest.mark.lab(kernels=("6.12", "7.2"), topology="no-isolated-msi")
def test_no_isolated_interrupts(stage: Stage, lab_guest: GuestName) -> None:
    """Seen only once everything is bound, so all is rolled back."""
    for hand_over in hand_overs(lab_guest):
        refusal = refused(stage, stage.machine.device("pair"), hand_over)
        assert refusal.reason is Reason.no_isolated_msi
        stage.until_restored()
