"""A way back that goes wrong: it is said, and what it leaves is given to nobody."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import faults, outside
from isod.model.reason import Reason

from .administrator import admins
from .conftest import Raise, Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons


def quarantined(stage: Stage) -> dict[str, str]:
    with admins(stage) as admin:
        found: Any = admin.call("quarantine.list")
    return {one["address"]: one["why"] for one in found["devices"]}


def clear(stage: Stage, address: str) -> None:
    with admins(stage) as admin:
        admin.call("quarantine.clear", {"address": address})


def is_refused(acquire: Callable[[], Any]) -> str:
    with pytest.raises(Refused) as caught:
        acquire()
    assert caught.value.reason is Reason.quarantined
    return caught.value.message


def test_what_does_not_come_back_from_a_failed_grant_is_said(raised: Raise) -> None:
    stage = raised()
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    faults.fail(stage.machine.root, "open_iommufd", None, errno.EIO, times=1)
    faults.fail(stage.machine.root, "restore", sibling, errno.EIO, times=1)
    with pytest.raises(Refused) as caught:
        stage.control.acquire([pair], hand_over="iommufd").close()
    assert list(caught.value.data["not_undone"]) == [f"pci:{sibling}"]  # type: ignore[call-overload]
    assert caught.value.data["undone"] == [f"pci:{pair}"]
    stage.daemon.wait_for("device.stranded", sibling)
    assert list(quarantined(stage)) == [f"pci:{sibling}"]
    outside.write(stage.machine.root, sibling, "driver_override", "")
    outside.probe_drivers(stage.machine.root, sibling)
    clear(stage, sibling)
    stage.control.acquire([pair], hand_over="iommufd").close()


def test_a_device_that_does_not_go_back_to_its_driver_is_kept_from_the_next_lease(
    raised: Raise, borrower: Start
) -> None:
    """The next lease would take no driver for the state to go back to."""
    stage = raised()
    root, single = stage.machine.root, stage.machine.device("single")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[single])
    faults.fail(root, "restore", single, errno.EIO, times=1)
    client.do("close")
    stage.daemon.wait_for("lease.ended", lease["id"])
    assert stage.group_state(single) == "quarantined"
    said = is_refused(lambda: client.do("acquire", devices=[single]))
    assert f"did not go back to nvme after lease {lease['id']}" in said
    outside.write(root, single, "driver_override", "")
    outside.probe_drivers(root, single)
    clear(stage, single)
    client.do("acquire", devices=[single])
    client.do("close")
    stage.until_restored()


def test_a_node_that_stays_open_to_its_owner_is_kept_from_everybody(
    raised: Raise, borrower: Start
) -> None:
    stage = raised()
    single = stage.machine.device("single")
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[single], hand_over="nodes")
    faults.fail(stage.machine.root, "revoke_nodes", None, errno.EIO, times=1)
    client.do("close")
    stage.until_restored()
    assert f"of lease {lease['id']}" in quarantined(stage)[f"pci:{single}"]
    said = is_refused(lambda: client.do("acquire", devices=[single]))
    assert "its node may be open still to user" in said
    clear(stage, single)
    client.do("acquire", devices=[single])
    client.do("close")
