"""Packets and fds that a hostile client sends, does not read, or has no room for."""

from __future__ import annotations

import json
import os
import resource
import socket
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from isod.client.blocking import Client
from isod.client.errors import ProtocolError
from isod.core.accounts import Resource
from isod.model.request import PACKET_BYTES
from isod.wire import packet
from tests.unit.daemon.door import Door, acquire
from tests.unit.wire.open_files import leads_to, open_fds
from tests.walk.conftest import Start
from tests.walk.policy import EVERYTHING
from tests.walk.stage import Stage

from .serving import ended, serves

FDS = 10_000
FDS_EACH = 50  # what SCM_RIGHTS takes at once is 253
# Each try may cost a connection, and nobody here is to be kept waiting for coming again and again.
RULES = EVERYTHING + f"[limits]\nconnections_per_uid = {2 * FDS // FDS_EACH}\n"


@pytest.mark.slow
def test_client_sends_fds_to_the_daemon(stage: Stage, borrower: Start) -> None:
    """Ten thousand of them, with good calls and without: none ever gets a number in the daemon."""
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "host.info"})
    before = stage.daemon.fds()
    most = 0
    sent = 0
    near, far = socket.socketpair()
    with near, far:
        while sent < FDS:
            with stage.line() as line, suppress(OSError):
                for _ in range(10):
                    sent += FDS_EACH
                    line.send(call, [near.fileno()] * FDS_EACH)
                most = max(most, stage.daemon.fds().total())
    stage.until_noticed()
    assert stage.daemon.fds() == before
    assert most - before.total() < FDS_EACH, "fds of a client were in the daemon"
    serves(stage, borrower)


@pytest.mark.slow
def test_truncated_control_data(stage: Stage) -> None:
    """A client without room for fds is told by an error; what came is closed, and so the lease
    ends."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_fds()
    with Client.connect(stage.socket, timeout=10) as client:
        highest = max(int(number) for number, _ in open_fds())
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 3, own[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            # One place is free, for the first of several fds.
            os.close(taken.pop())
            with pytest.raises(ProtocolError, match="RLIMIT_NOFILE"):
                client.acquire([stage.machine.device("single")], hand_over="group")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, own)
            packet.close_all(taken)
    assert open_fds() == before
    stage.until_quiet()


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", b" " * (PACKET_BYTES + 1)], ids=["empty", "over-long"])
def test_messages_coalesce_and_fds_are_duplicated_by_no_packet_that_is_none(
    stage: Stage, borrower: Start, data: bytes
) -> None:
    with stage.line() as line:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        line.send(data)
        assert ended(line)
    serves(stage, borrower)


@pytest.mark.slow
def test_messages_coalesce_and_fds_are_duplicated_by_no_pipelining(stage: Stage) -> None:
    """Asked for in one go over a tiny buffer: each reply is whole, with its own files once."""
    wanted = [stage.machine.device(shape) for shape in ("single", "pair", "behind_bridge")]
    with stage.line() as line:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for number, device in enumerate(wanted):
            address = {"address": f"pci:{device}"}
            line.call("lease.acquire", number, devices=[address], hand_over="iommufd")
            line.call("host.info", f"after {number}")
        answers: dict[object, tuple[Any, tuple[int, ...]]] = {}
        while len(answers) < 2 * len(wanted):
            received = line.receive()
            assert received is not None
            answers[received[0]["id"]] = received
    places = set()
    for number, device in enumerate(wanted):
        answer, fds = answers[number]
        roles = answer["result"]["fds"]
        assert [role["role"] for role in roles] == ["hold", "iommufd", "device"]
        assert roles[2]["address"] == f"pci:{device}"
        assert answers[f"after {number}"][1] == ()
        places |= {leads_to(fd) for fd in fds}
    assert len(places) == 3 * len(wanted), "a file came twice"
    for _, fds in answers.values():
        packet.close_all(fds)


async def test_replies_with_fds_that_nobody_reads(door: Door, mock_clock: MockClock) -> None:
    """One client never reads, is disconnected for it and connects anew: all that lies unread in
    its sockets counts, so that it never has more in flight than one user may have."""
    door.limit(unread_fds=4, unread_fds_per_uid=6, read=20.0)
    door.give(2)
    had = []
    with ExitStack() as stack:
        for number in range(6):
            client = stack.enter_context(await door.connect())
            await acquire(client, number)
            await door.given(min(number + 1, 3))
            for _ in range(30):
                mock_clock.jump(1)
                await wait_all_tasks_blocked()
            had.append(door.accounts.of_uid(os.geteuid(), Resource.unread_fds))
    assert had == [2, 4, 6, 6, 6, 6]


@pytest.mark.slow
def test_replies_with_fds_that_nobody_reads_and_leases(stage: Stage, borrower: Start) -> None:
    """They lie in its socket, their leases too; others are served."""
    wanted = [{"address": f"pci:{stage.machine.device('pair')}"}]
    with stage.line() as line:
        for number in range(8):
            line.call("lease.acquire", number, devices=wanted)
        serves(stage, borrower)
    stage.until_quiet()


@pytest.mark.slow
def test_replies_with_fds_that_nobody_reads_and_replies_without(
    stage: Stage, borrower: Start
) -> None:
    """They fill its own socket; it waits for itself alone."""
    with stage.line() as line:
        line.socket.setblocking(False)
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}).encode()
        asked = 0
        with suppress(BlockingIOError):
            while asked < 10_000:
                line.socket.send(call)
                asked += 1
        assert asked < 10_000, "the daemon takes calls without end"
        serves(stage, borrower)
