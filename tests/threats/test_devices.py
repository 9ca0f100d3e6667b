"""Devices that are kept, exchanged, or make the kernel wait."""

from __future__ import annotations

import os
import re
from pathlib import Path
from time import monotonic

import pytest

from isod.client.errors import Refused
from isod.kernel.helper import Helpers, Write
from isod.kernel.simulated import faults, outside
from isod.model.reason import Reason
from tests.walk.borrowers import where
from tests.walk.conftest import Raise, Start
from tests.walk.test_restart import STOP_AND_START_SECONDS, restarted

STOP_SECONDS = 3.0  # what leaves time to start, of STOP_AND_START_SECONDS
UNIT = Path(__file__).parents[2] / "systemd/isod.service"


@pytest.mark.slow
def test_unbound_cdev_is_kept_past_its_lease(raised: Raise, borrower: Start) -> None:
    """The group drains until it closes, over a restart, and nobody else gets it."""
    stage = raised()
    keeper, thief = borrower(), borrower()
    keeper.connect(stage)
    single = stage.machine.device("single")
    lease = keeper.do("acquire", devices=[single], hand_over="iommufd")
    keeper.do("take", role="device", which=single)
    keeper.do("take", role="iommufd")
    keeper.do("release")
    stage.daemon.wait_for("lease.in_use", lease["id"])
    thief.connect(stage)
    for hand_over in ("iommufd", "group", "nodes"):
        with pytest.raises(Refused) as refused:
            thief.do("acquire", devices=[single], hand_over=hand_over)
        assert refused.value.reason is Reason.group_busy
    assert stage.group_state(single) == "draining"

    other = stage.machine.device("pair")
    thief.do("acquire", devices=[other], name="other")
    assert restarted(stage) < STOP_AND_START_SECONDS

    assert stage.group_state(single) == "draining"
    thief.do("connect", **where(stage))
    with pytest.raises(Refused) as refused:
        thief.do("acquire", devices=[single])
    assert refused.value.reason is Reason.group_busy
    # It was unbound before the restart: the stale file is of no use to anybody any more.
    with pytest.raises(OSError, match="in the client"):
        keeper.do("use", what="bind_taken")
    keeper.do("close_taken")
    thief.do("close", name="other")
    stage.until_restored()
    assert thief.do("acquire", devices=[single])["state"] == "leased"


def test_sysfs_write_hangs(sysfs: Path) -> None:
    """A FIFO stands for it. Closing does not wait for the process that writes; that outlives us."""
    helpers = Helpers(sysfs)
    pending = helpers.start([Write("devices/one/unbind", "x")])
    pending.abandon()
    began = monotonic()
    helpers.close()
    assert monotonic() - began < STOP_AND_START_SECONDS
    assert Path(f"/proc/{pending.pid}").exists()
    descriptor = os.open(sysfs / "devices/one/unbind", os.O_RDONLY)
    assert os.read(descriptor, 10) == b"x"
    os.close(descriptor)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["unbind", "bind"])
def test_sysfs_write_hangs_in_a_driver_and_a_stop_does_not_wait_for_it(
    raised: Raise, borrower: Start, step: str
) -> None:
    """A driver does not let go, or does not take: the next start goes on, others keep theirs."""
    stage = raised(managed=True)
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    owner, client = borrower(), borrower()
    owner.connect(stage)
    lease = owner.do("acquire", devices=[pair], hand_over="iommufd")
    owner.do("use", what="bind")
    with stage.line() as line, faults.hang(stage.machine.root, step, single):
        line.call("lease.acquire", 1, devices=[{"address": f"pci:{single}"}])
        stage.daemon.until(lambda: stage.group_state(single) == "preparing", "not begun")
        began = monotonic()
        stage.stop()
        stopped = monotonic() - began
        answer = line.receive()
        assert answer is not None
        assert answer[0]["error"]["data"]["reason"] == "stopping"
        stage.start()
        assert stopped < STOP_SECONDS, "it waited for the driver"
    owner.do("use", what="attach")
    client.do("connect", **where(stage))
    stage.daemon.until(lambda: stage.group_state(single) in {"free", "host"}, "not given back")
    assert stage.group_state(pair) == "leased", f"{lease['id']} did not go on"
    assert client.do("acquire", devices=[single])["state"] == "leased"
    client.do("close")
    owner.do("close")
    stage.until_restored()


def test_sysfs_write_hangs_and_the_service_manager_does_not_wait_for_it() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert settings["KillMode"] == "process"
    assert settings["TimeoutStopSec"] == "15s"
    assert settings["Restart"] == "always"


@pytest.mark.slow
def test_stale_lease_on_a_recycled_address(raised: Raise, borrower: Start) -> None:
    """Another device sits at the address now: the old lease has no part in it, nor its owner."""
    stage = raised()
    root, single = stage.machine.root, stage.machine.device("single")
    former, heir = borrower(), borrower()
    former.connect(stage)
    heir.connect(stage)
    lease = former.do("acquire", devices=[single], hand_over="iommufd")
    former.do("take", role="hold")
    former.do("close")
    assert outside.unplug(root, single), "no file of it is open"
    outside.replug(root, single)
    stage.daemon.wait_for("lease.device_gone", lease["id"])
    with pytest.raises(Refused) as refused:
        former.do("open_by_secret", lease=lease["id"], secret=lease["secret"])
    assert refused.value.reason in {Reason.not_found, Reason.gone, Reason.in_use}
    stage.daemon.wait_for("lease.ended", lease["id"])

    device = stage.control.devices()
    (fresh,) = [one for one in device if one.address.name == single]
    was = lease["devices"][0]["generation"]
    assert fresh.generation != was
    with stage.line() as line:
        for generation, reason in ((was, "gone"), (fresh.generation, None)):
            wanted = [{"address": f"pci:{single}", "generation": generation}]
            said = line.ask("lease.explain", devices=wanted)["result"]
            assert (said["refusal"] or {"data": {"reason": None}})["data"]["reason"] == reason
    heir.do("acquire", devices=[single], hand_over="iommufd")
    heir.do("use", what="bind")
    former.do("close_taken")
    heir.do("use", what="attach")
    assert stage.group_state(single) == "leased"
    heir.do("close")
    stage.until_restored()
