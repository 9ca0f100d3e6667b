"""A client that goes on over the daemon's end, without code of its own: stopped, and killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from isod.client.blocking import Client
from isod.client.errors import ConnectionLost, EventsLost
from isod.kernel.simulated import faults

from .borrowers import Borrower, where
from .conftest import Raise, Start
from .daemon import PATIENCE
from .stage import Stage
from .test_managed import end
from .test_waiting import is_queued

pytestmark = pytest.mark.slow  # starts and ends many daemons

ENDS = pytest.mark.parametrize("how", ["stop", "kill"])
MANAGED = pytest.mark.parametrize("managed", [False, True], ids=["alone", "managed"])


def going_on(client: Borrower, stage: Stage) -> Borrower:
    """Let it connect so that it goes on by itself."""
    client.do("connect", **where(stage), reconnect=PATIENCE)
    return client


@ENDS
@MANAGED
def test_who_looks_does_not_notice(raised: Raise, how: str, managed: bool) -> None:
    stage = raised(managed=managed)
    losses: list[ConnectionLost] = []
    with Client.connect(stage.socket, reconnect=PATIENCE, on_lost=losses.append) as client:
        before = client.devices()
        for _ in range(2):
            end(stage, how)
            stage.start()
            assert [one.address for one in client.devices()] == [one.address for one in before]
    assert len(losses) == 2


@ENDS
def test_a_lease_and_its_key_over_restarts(raised: Raise, borrower: Start, how: str) -> None:
    stage = raised(managed=True)
    owner = going_on(borrower(), stage)
    pair = stage.machine.device("pair")
    lease = owner.do("acquire", devices=[pair], hand_over="iommufd", key="mine")
    for _ in range(2):
        end(stage, how)
        stage.start()
        assert owner.do("acquire", devices=[pair], key="mine", name="same")["id"] == lease["id"]
    owner.do("open")
    owner.do("use", what="bind")
    assert owner.do("release") == "draining"
    stage.until_restored()


@pytest.mark.parametrize(("how", "managed"), [("stop", True), ("kill", True), ("kill", False)])
def test_a_request_in_flight_gets_its_lease_with_files(
    raised: Raise, borrower: Start, how: str, managed: bool
) -> None:
    stage = raised(managed=managed)
    client = going_on(borrower(), stage)
    single = stage.machine.device("single")
    with faults.hang(stage.machine.root, "bind", single):
        client.begin("acquire", devices=[single], hand_over="iommufd", key="mine")
        stage.daemon.until(lambda: stage.lease_count() == 1, "nothing was begun")
        if how == "kill":
            stage.kill()
    if how == "stop":
        stage.stop()
    stage.start()
    lease = client.answer()
    assert lease["state"] == "leased"
    assert [role["role"] for role in lease["roles"]] == ["hold", "iommufd", "device"]
    client.do("use", what="bind")
    client.do("close")
    stage.until_restored()


def test_a_request_without_a_key_is_not_made_twice(raised: Raise, borrower: Start) -> None:
    stage = raised()
    client = going_on(borrower(), stage)
    single = stage.machine.device("single")
    with faults.hang(stage.machine.root, "bind", single):
        client.begin("acquire", devices=[single], hand_over="iommufd")
        stage.daemon.until(lambda: stage.lease_count() == 1, "nothing was begun")
        stage.kill()
    stage.start()
    with pytest.raises(ConnectionLost, match="took effect is not known"):
        client.answer()
    stage.until_restored()
    assert client.do("acquire", devices=[single])["state"] == "leased"
    client.do("close")


@ENDS
def test_who_waits_waits_on(raised: Raise, borrower: Start, how: str) -> None:
    stage = raised(managed=True)
    holder, waiter, newcomer = (going_on(borrower(), stage) for _ in range(3))
    single = stage.machine.device("single")
    holder.do("acquire", devices=[single])
    key = {} if how == "stop" else {"key": "mine"}  # a daemon that stops says that it did nothing
    waiter.begin("acquire", devices=[single], wait=PATIENCE, **key)
    for _ in range(2):
        stage.daemon.until(lambda: is_queued(newcomer, single), "nobody waits")
        end(stage, how)
        stage.start()
    stage.daemon.until(lambda: is_queued(newcomer, single), "nobody waits any more")
    holder.do("close")
    assert waiter.answer()["state"] == "leased"
    waiter.do("close")


@ENDS
def test_watch_goes_on(raised: Raise, how: str) -> None:
    """``isoctl watch`` says that isod ended, and that it does not know what came meanwhile."""
    stage = raised(managed=True)
    single = stage.machine.device("single")
    command = [sys.executable, "-m", "isod.cli.isoctl", "--socket", str(stage.socket)]
    watch = [*command, "watch", "--json", "--kinds", "lease"]
    pipe = subprocess.PIPE
    with subprocess.Popen(watch, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "Watching until Ctrl-C.\n"
        end(stage, how)
        assert process.stderr.readline() == "isod closed the connection; connecting again.\n"
        stage.start()
        assert json.loads(process.stdout.readline())["kind"] == "gap"
        stage.control.acquire([single]).close()
        assert json.loads(process.stdout.readline())["kind"] == "lease.granted"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    stage.until_restored()


@ENDS
def test_who_follows_events_is_told_that_some_are_not_known(raised: Raise, how: str) -> None:
    stage = raised(managed=True)
    single = stage.machine.device("single")
    with Client.connect(stage.socket, timeout=PATIENCE, reconnect=PATIENCE) as client:
        events = client.events(["lease"])
        stage.control.acquire([single]).close()
        assert [next(events).kind for _ in range(3)] == [
            "lease.granted",
            "lease.draining",
            "lease.ended",
        ]
        end(stage, how)
        stage.start()
        with pytest.raises(EventsLost) as lost:
            next(events)
        assert lost.value.gone
        with client.events(["lease"], since=lost.value.seq) as further:
            stage.control.acquire([single]).close()
            assert next(further).kind == "lease.granted"
    stage.until_restored()
