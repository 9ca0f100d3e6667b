"""Quirks: devices in several IOMMU groups that always go together."""

from __future__ import annotations

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason

from .conftest import Raise, Start
from .machine import Binding
from .policy import EVERYTHING

pytestmark = pytest.mark.slow  # starts and ends many daemons

VFIO = Binding("vfio-pci", "vfio-pci")


def test_two_groups_joined_by_a_quirk_have_one_owner(raised: Raise, borrower: Start) -> None:
    stage = raised()
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    sibling = stage.machine.device("sibling")
    stage.stop()
    quirk = f'[[quirk]]\nname = "bad"\ndevices = [{{ address = "pci:{single}" }}, '
    stage.write_policy(EVERYTHING + quirk + f'{{ address = "pci:{pair}" }}]\n')
    stage.start()
    [joined] = {one.isolation for one in stage.control.groups() if one.isolation is not None}
    assert joined.quirks == ("bad",)

    owner = borrower()
    owner.connect(stage)
    lease = owner.do("acquire", devices=[single], hand_over="iommufd")
    assert [one["role"] for one in lease["roles"]] == ["hold", "iommufd", "device"]
    assert {one["address"]: one["why"] for one in lease["devices"]} == {
        f"pci:{single}": "requested",
        f"pci:{pair}": "sibling",
        f"pci:{sibling}": "sibling",
    }
    assert {stage.picture()[name] for name in (single, pair, sibling)} == {VFIO}

    second = borrower()
    second.connect(stage)
    with pytest.raises(Refused) as refused:
        second.do("acquire", devices=[pair])
    assert refused.value.reason is Reason.group_busy
    owner.do("close")
    stage.until_restored()
    assert second.do("acquire", devices=[pair], hand_over="group")["state"] == "leased"
    second.do("close")
