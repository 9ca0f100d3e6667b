"""Leases and the daemon's own end: stopped, started again, killed."""

from __future__ import annotations

from time import monotonic

import pytest

from isod.client.errors import Refused
from isod.kernel.simulated import calls, faults, outside
from isod.model.reason import Reason
from isod.wire.packet import close_all
from tests.lab.waiting import seconds_waited

from .conftest import Raise, Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

STOP_AND_START_SECONDS = 5.0


def restarted(stage: Stage) -> float:
    """Stop and start the daemon; how long that took. In an emulated guest Python alone takes longer
    to start than all that, so there it is how long it waited for something."""

    def restart() -> None:
        stage.stop()
        stage.start()

    if stage.machine.kind == "linux":
        return seconds_waited(restart)
    began = monotonic()
    restart()
    return monotonic() - began


def test_a_client_that_lives_through_a_restart(raised: Raise, borrower: Start) -> None:
    """Its hold went with the daemon: the lease drains, and nothing is taken from it."""
    stage = raised()
    client, thief = borrower(), borrower()
    client.connect(stage)
    pair = stage.machine.device("pair")
    client.do("acquire", devices=[pair], hand_over="iommufd")
    client.do("use", what="bind")
    assert restarted(stage) < STOP_AND_START_SECONDS
    stage.daemon.wait_for("lease.in_use")
    client.do("use", what="attach")
    thief.connect(stage)
    with pytest.raises(Refused) as refused:
        thief.do("acquire", devices=[stage.machine.device("sibling")])
    assert refused.value.reason is Reason.group_busy
    assert refused.value.data["holder"]
    client.do("close")
    stage.until_restored()


@pytest.mark.parametrize("hand_over", ["group", "nodes"])
def test_group_files_live_through_a_kill(raised: Raise, borrower: Start, hand_over: str) -> None:
    stage = raised()
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[stage.machine.device("pair")], hand_over=hand_over)
    if hand_over == "nodes":
        client.do("use", what="open_by_path")
    stage.kill()
    stage.start()
    stage.daemon.wait_for("lease.in_use")
    client.do("close_taken")
    client.do("close")
    stage.until_restored()


def test_a_client_dies_while_the_daemon_is_down(raised: Raise, borrower: Start) -> None:
    stage = raised()
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
    stage.kill()
    client.kill()
    stage.start()
    stage.until_quiet()


def test_devices_that_are_back_are_not_reset_again(raised: Raise) -> None:
    """Killed between two devices' restores: what the host has again is the host's."""
    stage = raised()
    root = stage.machine.root
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    lease = stage.control.acquire([pair, sibling], hand_over="group")
    with faults.hang(root, "restore", pair):
        lease.release()
        stage.daemon.until(
            lambda: stage.picture()[sibling] == stage.before[sibling], "not restored"
        )
        seen = [one for one in outside.resets(root) if one.device == sibling]
        stage.kill()
    stage.start()
    stage.until_restored()
    assert [one for one in outside.resets(root) if one.device == sibling] == seen


def test_a_draining_lease_does_not_keep_the_daemon(raised: Raise) -> None:
    """Stopped while it waits for a foreign close, and while a fence waits."""
    stage = raised()
    single = stage.machine.device("single")
    lease = stage.control.acquire([single], hand_over="iommufd")
    iommufd = lease.files.take("iommufd")
    device = lease.files.take("device", single)
    calls.bind_iommufd(device, iommufd)
    lease.release()
    stage.daemon.wait_for("lease.in_use")
    assert restarted(stage) < STOP_AND_START_SECONDS
    stage.daemon.wait_for("lease.in_use")
    close_all([device, iommufd])
    stage.until_restored()
