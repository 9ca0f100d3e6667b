"""Clients that leave, or stop listening, while isod works for them."""

from __future__ import annotations

import socket

import pytest

from isod.kernel.simulated import faults
from isod.wire import packet

from .borrowers import where
from .conftest import Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

STEPS = ["unbind", "bind", "probe", "limit", "open_iommufd"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_a_step_runs(stage: Stage, borrower: Start, step: str) -> None:
    """Its connection is gone before there is anything to be delivered: nobody has the hold."""
    client = borrower()
    client.connect(stage)
    with faults.hang(stage.machine.root, step):
        client.begin("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
        stage.daemon.until(lambda: stage.lease_count() == 1, "nothing was begun")
        client.kill()
        stage.until_noticed()
    stage.until_quiet()


@pytest.mark.parametrize("step", ["reset", "restore", "fence"])
def test_killed_while_the_way_back_runs(stage: Stage, borrower: Start, step: str) -> None:
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
    with faults.hang(stage.machine.root, step):
        client.do("release")
        client.kill()
        stage.until_noticed()
        assert stage.lease_count() == 1
    stage.until_quiet()


@pytest.mark.parametrize("hand_over", ["iommufd", "group", "nodes"])
def test_killed_with_an_unread_reply(stage: Stage, borrower: Start, hand_over: str) -> None:
    client = borrower()
    client.connect(stage)
    client.do("ask", devices=[stage.machine.device("pair")], hand_over=hand_over)
    client.do("await_answer")
    client.kill()
    stage.until_quiet()


def test_does_not_listen_any_more(stage: Stage) -> None:
    """The fds cannot be delivered; the daemon lives on, and the lease ends."""
    with stage.line() as line:
        line.socket.shutdown(socket.SHUT_RD)
        wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
        line.call("lease.acquire", devices=wanted)
        stage.daemon.wait_for("lease.ended")
    stage.until_quiet()


def test_hangs_up_right_after_asking(stage: Stage) -> None:
    wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
    for _ in range(20):
        with stage.line() as line:
            line.call("lease.acquire", devices=wanted)
    stage.until_quiet()


def test_closes_its_end_for_sending_only(stage: Stage) -> None:
    """A connection that sends no more is over: what was begun for it is undone."""
    wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
    with stage.line() as line:
        line.call("lease.acquire", devices=wanted)
        line.socket.shutdown(socket.SHUT_WR)
        while (received := line.receive()) is not None:
            packet.close_all(received[1])
    stage.until_quiet()


def test_the_lease_outlives_the_connection(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single], hand_over="iommufd")
    client.do("disconnect")
    stage.until_noticed()
    assert stage.group_state(single) == "leased"
    client.do("use", what="bind")
    client.do("connect", **where(stage))
    client.do("call", method="lease.get", params={"lease": lease["id"]})
    client.do("close")
