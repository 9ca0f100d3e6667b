"""Packets and fds that a hostile client sends, does not read, or has no room for."""

from __future__ import annotations

import json
import os
import resource
import socket
from contextlib import suppress
from typing import Any

import pytest

from isod.client.blocking import Client
from isod.client.errors import ProtocolError
from isod.model.request import PACKET_BYTES
from isod.wire import packet
from tests.unit.wire.open_files import leads_to, open_fds
from tests.walk.conftest import Start
from tests.walk.stage import Stage

from .serving import ended, serves

pytestmark = pytest.mark.slow  # starts a daemon

FDS = 10_000
FDS_EACH = 50  # what SCM_RIGHTS takes at once is 253


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


@pytest.mark.parametrize("data", [b"", b" " * (PACKET_BYTES + 1)], ids=["empty", "over-long"])
def test_messages_coalesce_and_fds_are_duplicated_by_no_packet_that_is_none(
    stage: Stage, borrower: Start, data: bytes
) -> None:
    with stage.line() as line:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        line.send(data)
        assert ended(line)
    serves(stage, borrower)


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
