"""Hostile clients: the daemon keeps nothing of theirs, and others get their leases."""

from __future__ import annotations

import json
import os
import resource
import socket
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from isod.client.blocking import Client
from isod.client.errors import ProtocolError
from isod.model.method import METHODS
from isod.model.request import PACKET_BYTES
from isod.wire import packet

from .borrowers import UID
from .conftest import Raise, Start
from .line import Line
from .policy import EVERYTHING
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

FDS = 10_000
FDS_EACH = 50  # what SCM_RIGHTS takes at once is 253
SILENT = 300
RULES = EVERYTHING + "[limits]\nconnections_per_uid = 400\n"


def serves(stage: Stage, borrower: Start) -> None:
    """A well-behaved client gets its lease."""
    with borrower() as client:
        client.connect(stage)
        client.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
        client.do("use", what="bind")
        client.do("release")


def ended(line: Line) -> bool:
    """Whether the daemon ends the connection, after whatever it still says."""
    with suppress(ConnectionResetError, BrokenPipeError):
        while (received := line.receive()) is not None:
            packet.close_all(received[1])
    return True


def test_fds_that_nobody_wants(stage: Stage, borrower: Start) -> None:
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


@pytest.mark.parametrize("data", [b"", b" " * (PACKET_BYTES + 1)], ids=["empty", "over-long"])
def test_a_packet_that_is_none(stage: Stage, borrower: Start, data: bytes) -> None:
    with stage.line() as line:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        line.send(data)
        assert ended(line)
    serves(stage, borrower)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe{\x00}\x00",
        b"[" * 60_000,
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"host.info"}',
        b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1e999,"client":"x"}}',
        b'{"jsonrpc":"2.0","id":NaN,"method":"host.info"}',
        b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1,"client":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":' + b"9" * 5000 + b"}}",
        b'{"jsonrpc":"2.0","id":1,"method":"\x1b[31m"}',
    ],
    ids=["utf-16", "depth", "twice", "1e999", "NaN", "surrogate", "long integer", "escape"],
)
def test_json_that_is_none_of_ours(stage: Stage, data: bytes) -> None:
    """An error each, on a connection that goes on."""
    with stage.line() as line:
        line.send(data)
        received = line.receive()
        assert received is not None
        assert received[0]["error"]["code"] < 0
        assert "result" in line.ask("host.info")


@pytest.mark.parametrize("method", METHODS)
def test_hangs_up_in_the_middle(stage: Stage, method: str) -> None:
    """Asked and gone at once, many times, every method."""
    params: dict[str, dict[str, Any]] = {
        "hello": {"client": "x", "protocol": 1},
        "lease.acquire": {"devices": [{"address": f"pci:{stage.machine.device('single')}"}]},
        "lease.open": {"lease": "L1", "secret": "x"},
        "lease.release": {"lease": "L1", "secret": "x"},
        "lease.get": {"lease": "L1"},
    }
    for _ in range(10):
        with stage.line() as line:
            line.call(method, **params.get(method, {}))
            line.call(method, 2, **params.get(method, {}))


def test_silent_connections(stage: Stage, borrower: Start) -> None:
    with ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(stage.line())
        serves(stage, borrower)
    stage.until_noticed()


def test_a_user_who_fills_his_share_keeps_no_other_out(raised: Raise, borrower: Start) -> None:
    if os.geteuid() == UID:
        pytest.skip("two users need root")
    stage = raised(rules=EVERYTHING + "[limits]\nconnections_per_uid = 5\n")
    before = stage.daemon.fds()["socket"]
    with ExitStack() as stack:
        lines = [stack.enter_context(stage.line()) for _ in range(9)]
        told = lines[-1].receive()
        assert told is not None
        assert told[0]["error"]["data"]["reason"] == "quota"
        assert ended(lines[-1])
        serves(stage, borrower)
    stage.daemon.wait_for("connection.refused", "uid 0")
    stage.daemon.until(lambda: stage.daemon.fds()["socket"] <= before, "their end was not noticed")


def test_one_that_never_reads(stage: Stage, borrower: Start) -> None:
    """Its replies fill its own socket; it waits for itself alone."""
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


def test_one_that_leaves_fds_unread(stage: Stage, borrower: Start) -> None:
    """Replies with fds lie in its socket, their leases too; others are served."""
    wanted = [{"address": f"pci:{stage.machine.device('pair')}"}]
    with stage.line() as line:
        for number in range(8):
            line.call("lease.acquire", number, devices=wanted)
        serves(stage, borrower)
    stage.until_quiet()


def test_a_client_without_room_for_fds(stage: Stage) -> None:
    """It is told by an error; what it could not take is closed, and the lease ends."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Client.connect(stage.socket, timeout=10) as client:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, own[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            with pytest.raises(ProtocolError):
                client.acquire([stage.machine.device("single")], hand_over="group")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, own)
            packet.close_all(taken)


def test_names_with_control_characters_forge_no_line(stage: Stage) -> None:
    """In the log they are escaped."""
    with stage.line() as line:
        key = "x\nisod: lease.granted: forged\x1b[31m"
        wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
        line.ask("lease.acquire", devices=wanted, key=key)
    stage.until_quiet()
    granted = [entry for entry in stage.daemon.log if entry.startswith("isod: lease.granted")]
    assert not any("forged" in entry for entry in granted)
    assert not any("\x1b" in entry for entry in stage.daemon.log)


def test_no_abstract_socket(stage: Stage) -> None:
    with open("/proc/net/unix") as table:
        assert not any(str(stage.socket) in line and "@" in line.split()[-1] for line in table)
