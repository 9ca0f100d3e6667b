"""Quirks: devices in several IOMMU groups that always go together."""

from __future__ import annotations

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import outside
from isod.model.reason import Reason

from .conftest import Raise, Start
from .machine import Binding
from .policy import DRIVERS, EVERYTHING, NOTHING, rule
from .test_host_changes import devices_of, quirk, reload

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


def test_what_is_added_with_a_group_of_its_own_is_parked_where_a_quirk_joins_it(
    raised: Raise, borrower: Start
) -> None:
    stage = raised()
    root, single = stage.machine.root, stage.machine.device("single")
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    outside.unplug(root, single)
    reload(stage, EVERYTHING + quirk(single, pair))
    owner, thief = borrower(), borrower()
    owner.connect(stage)
    thief.connect(stage)
    lease = owner.do("acquire", devices=[pair], hand_over="iommufd")
    assert devices_of(owner, lease) == {f"pci:{pair}", f"pci:{sibling}"}
    outside.replug(root, single)
    stage.daemon.wait_for("lease.device_joined", lease["id"], "02:00.0")
    assert f"pci:{single}" in devices_of(owner, lease)
    assert stage.picture()[single] == VFIO
    with pytest.raises(Refused) as refused:
        thief.do("acquire", devices=[single])
    assert refused.value.reason is Reason.group_busy
    owner.do("close")
    stage.until_restored()
    assert thief.do("acquire", devices=[single])["state"] == "leased"
    thief.do("close")


def test_what_a_reloaded_quirk_joins_and_a_driver_has_is_told_and_left_alone(
    raised: Raise, borrower: Start
) -> None:
    only = rule(take_from=[one for one in DRIVERS if one != "nvme"])
    stage = raised(rules=NOTHING + only)
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    owner, other = borrower(), borrower()
    owner.connect(stage)
    other.connect(stage)
    lease = owner.do("acquire", devices=[pair], hand_over="iommufd")
    reload(stage, NOTHING + only + quirk(single, pair))
    stage.daemon.wait_for("lease.conflict", lease["id"], "in use by the driver nvme")
    assert f"pci:{single}" not in devices_of(owner, lease)
    assert stage.picture()[single].driver == "nvme"
    by_name = rule("by-name", what=f'[{{ address = "pci:{single}" }}]')
    reload(stage, NOTHING + by_name + only + quirk(single, pair))
    stage.daemon.wait_for("lease.device_joined", lease["id"], "02:00.0")
    assert stage.picture()[single] == VFIO
    with pytest.raises(Refused) as refused:
        other.do("acquire", devices=[single])
    assert refused.value.reason is Reason.group_busy
    owner.do("close")
    stage.until_restored()
