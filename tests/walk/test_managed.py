"""Under a service manager that keeps the holds, a restart is not noticed."""

from __future__ import annotations

import os
from time import monotonic

import pytest

from isod.client.blocking import Client
from isod.client.errors import Refused
from isod.kernel.simulated import faults
from isod.model.reason import Reason

from .borrowers import where
from .conftest import Raise, Start
from .daemon import PATIENCE
from .stage import Stage
from .test_waiting import is_queued

pytestmark = pytest.mark.slow  # starts and ends many daemons

ROUNDS = 3


def end(stage: Stage, how: str) -> None:
    if how == "stop":
        stage.stop()
    else:
        stage.kill()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_lease_outlives_restarts(raised: Raise, borrower: Start, how: str) -> None:
    stage = raised(managed=True)
    owner, thief = borrower(), borrower()
    owner.connect(stage)
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    lease = owner.do("acquire", devices=[pair], hand_over="iommufd", key="mine")
    owner.do("use", what="bind")
    for _ in range(ROUNDS):
        end(stage, how)
        stage.start()
        assert stage.group_state(pair) == "leased"
        thief.do("connect", **where(stage))
        with pytest.raises(Refused) as refused:
            thief.do("acquire", devices=[sibling])
        assert refused.value.reason is Reason.group_busy
        owner.do("connect", **where(stage))
        assert owner.do("acquire", devices=[pair], key="mine", name="same")["id"] == lease["id"]
    owner.do("use", what="attach")
    owner.kill()
    stage.until_restored()
    assert stage.manager is not None
    stage.manager.wait_for(f"FDSTOREREMOVE=1\nFDNAME=hold-{lease['id']}", PATIENCE)
    assert stage.manager.kept == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_owner_that_dies_meanwhile(raised: Raise, borrower: Start, how: str) -> None:
    """Its hold hung up and was dropped: the lease drains, which is no fault."""
    stage = raised(managed=True)
    stays, dies = borrower(), borrower()
    stays.connect(stage)
    dies.connect(stage)
    stays.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
    gone = dies.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
    end(stage, how)
    dies.kill()
    stage.start()
    stage.daemon.wait_for("lease.ended", gone["id"])
    assert stage.group_state(stage.machine.device("pair")) == "leased"
    assert stage.group_state(stage.machine.device("single")) == "host"


def test_killed_before_the_fds_left(raised: Raise, borrower: Start) -> None:
    """A hold was kept for a lease that nobody got: it is let go."""
    stage = raised(managed=True)
    assert stage.manager is not None
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        stage.manager.keep("hold-L99", read)
        stage.stop()
        stage.start()
        stage.daemon.wait_for("a hold of L99 was kept")
        stage.manager.wait_for("FDSTOREREMOVE=1\nFDNAME=hold-L99", PATIENCE)
    finally:
        os.close(read)
        os.close(write)


def test_a_stop_finishes_what_is_under_way(raised: Raise, borrower: Start) -> None:
    stage = raised(managed=True)
    assert stage.manager is not None
    client = borrower()
    client.connect(stage)
    single = stage.machine.device("single")
    with faults.hang(stage.machine.root, "bind", single):
        client.begin("acquire", devices=[single], hand_over="iommufd")
        stage.daemon.until(lambda: stage.lease_count() == 1, "nothing was begun")
        stage.daemon.ask_to_stop()
        stage.manager.wait_for("STOPPING=1", PATIENCE)
        with pytest.raises(Refused) as refused, Client.connect(stage.socket, reconnect=0) as late:
            late.acquire([stage.machine.device("pair")])
        assert refused.value.reason is Reason.stopping
    assert client.answer()["state"] == "leased"
    stage.stop()
    stage.start()
    assert stage.group_state(single) == "leased"
    client.do("close")


def test_waiting_ends_with_a_stop(raised: Raise, borrower: Start) -> None:
    stage = raised(managed=True)
    holder, waiter, newcomer = borrower(), borrower(), borrower()
    for client in (holder, waiter, newcomer):
        client.connect(stage)
    single = stage.machine.device("single")
    holder.do("acquire", devices=[single])
    waiter.begin("acquire", devices=[single], wait=60.0)
    stage.daemon.until(lambda: is_queued(newcomer, single), "nobody waits")
    began = monotonic()
    stage.stop()
    assert monotonic() - began < 5
    with pytest.raises(Refused) as refused:
        waiter.answer()
    assert refused.value.reason is Reason.stopping
    stage.start()
    holder.do("close")


def test_what_the_manager_is_told(raised: Raise, borrower: Start) -> None:
    stage = raised(managed=True)
    assert stage.manager is not None
    stage.manager.wait_for("READY=1", PATIENCE)
    stage.manager.wait_for("STATUS=0 leased, 0 beginning or ending", PATIENCE)
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[stage.machine.device("single")])
    stage.manager.wait_for("STATUS=1 leased, 0 beginning or ending", PATIENCE)
    stage.daemon.reload()
    stage.manager.wait_for("READY=1", PATIENCE, times=2)
    assert any(told.startswith("RELOADING=1\nMONOTONIC_USEC=") for told in stage.manager.told)
