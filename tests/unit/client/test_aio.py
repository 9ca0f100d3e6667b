"""The trio client: many tasks on one connection, and every way out of a call."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from isod.client.aio import Client
from isod.client.errors import ClientError, ConnectionLost, ProtocolError, Refused
from isod.client.files import CLOSED
from isod.model.address import Address
from isod.model.reason import Reason, Refusal
from isod.wire import jsonrpc, packet
from tests.unit.wire.open_files import leads_to, open_fds

from .fake_daemon import SECRET, FakeDaemon, listening, serving

NIC, DISK = Address.pci("0000:01:00.0"), Address.pci("0000:02:00.0")


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
async def isod(daemon: FakeDaemon) -> AsyncIterator[Client]:
    with serving(daemon) as sock:
        client = Client(sock.dup())
        sock.close()
        await client.hello()
        yield client
        client.close()


class Wire:
    """The daemon's end of a connection, played by the test itself."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.setblocking(False)
        self.client = Client(ours)

    def asked(self) -> list[Any]:
        """Everything that the client has sent so far."""
        found: list[Any] = []
        while True:
            try:
                data = packet.receive_plain(self.theirs)
            except BlockingIOError:
                return found
            if data is None:
                return found
            found.append(json.loads(data))

    def say(self, identity: int, result: object, fds: int = 0) -> None:
        packet.send(self.theirs, jsonrpc.result(identity, result), [0] * fds)

    def close(self) -> None:
        self.client.close()
        self.theirs.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    before = open_fds()
    wire = Wire()
    yield wire
    wire.close()
    assert open_fds() == before


async def test_connects_by_path(daemon: FakeDaemon, tmp_path: Path) -> None:
    path = tmp_path / "isod.sock"
    with listening(daemon, path):
        async with Client.connect(path, name="myvmm/1.2") as isod:
            assert isod.greeting.server == "isod 0.1"
    assert daemon.asked[0].params == {"client": "myvmm/1.2", "protocol": 1}


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match="isod is not running"):
        async with Client.connect(tmp_path / "nothing.sock"):
            pass


async def test_what_the_block_raises_comes_out_as_it_is(daemon: FakeDaemon, tmp_path: Path) -> None:
    with listening(daemon, tmp_path / "isod.sock"), pytest.raises(Refused):
        async with Client.connect(tmp_path / "isod.sock") as isod:
            await isod.lease("L9")


async def test_every_method(isod: Client, daemon: FakeDaemon) -> None:
    assert isod.greeting.you.uid == 1000
    assert (await isod.info()).devices == 3
    assert len(await isod.devices()) == 3
    assert [group.number for group in await isod.groups()] == [12, 13]
    assert await isod.call("rpc.discover") == {"openrpc": "1.3.2"}
    with await isod.acquire(["01:00.0"], hand_over="iommufd", key="vm7") as lease:
        assert leads_to(lease.files.device(NIC)) == "/memfd:pci:0000:01:00.0 (deleted)"
        assert await isod.leases() == (lease.info,)
        assert await isod.lease("L1") == lease.info
        with await isod.open("L1", SECRET) as other:
            assert other.secret == SECRET
        assert (await lease.open()).hold != CLOSED
        assert daemon.hold_is_there("L1")
        assert (await isod.release("L1", SECRET)).state == "draining"
        assert (await lease.release()).state == "draining"
        assert lease.files.hold == CLOSED
    assert daemon.hold_is_gone("L1")


async def test_a_refusal(isod: Client) -> None:
    with await isod.acquire([NIC]):
        with pytest.raises(Refused) as caught:
            await isod.acquire(["01:00.1"])
        assert caught.value.reason is Reason.group_busy


async def test_hello_comes_first(wire: Wire) -> None:
    with pytest.raises(ClientError, match="hello"):
        assert wire.client.greeting


@pytest.mark.parametrize("seed", range(20))
async def test_replies_out_of_order_find_their_tasks(wire: Wire, seed: int) -> None:
    chance = random.Random(seed)
    found: dict[int, object] = {}

    async def ask(number: int) -> None:
        found[number] = await wire.client.call("m", {"number": number})

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, number)
        await trio.testing.wait_all_tasks_blocked()
        asked = wire.asked()
        assert sorted(one["params"]["number"] for one in asked) == list(range(10))
        chance.shuffle(asked)
        for one in asked:
            wire.say(one["id"], one["params"]["number"])
            if chance.random() < 0.5:
                await trio.testing.wait_all_tasks_blocked()
                assert one["params"]["number"] in found
    assert found == {number: number for number in range(10)}


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_calls_leave_no_fd_and_others_go_on(wire: Wire, seed: int) -> None:
    chance = random.Random(seed)
    before = open_fds()
    found: dict[int, object] = {}
    scopes: dict[int, trio.CancelScope] = {}

    async def ask(number: int) -> None:
        with trio.CancelScope() as scopes[number]:
            found[number] = await wire.client.call("m", {"number": number})

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, number)
        await trio.testing.wait_all_tasks_blocked()
        asked = wire.asked()
        chance.shuffle(asked)
        cancelled = chance.sample(range(10), 4)
        for one in asked:
            if cancelled and chance.random() < 0.5:
                scopes[cancelled.pop()].cancel()
            if chance.random() < 0.5:
                await trio.testing.wait_all_tasks_blocked()
            fds = chance.randrange(3)
            wire.say(one["id"], {"n": one["params"]["number"], "fds": [{}] * fds}, fds)
    # The replies to those that nobody waits for any more are still on the wire.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 99)
        await trio.testing.wait_all_tasks_blocked()
        (last,) = wire.asked()
        wire.say(last["id"], 99)
    assert found.pop(99) == 99
    assert len(found) >= 6
    assert all(isinstance(one, dict) and one["n"] == number for number, one in found.items())
    assert open_fds() == before


async def test_a_cancelled_acquire_ends_its_lease(wire: Wire) -> None:
    with trio.move_on_after(0):
        await wire.client.acquire([NIC])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.client.acquire, [NIC])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (asked,) = wire.asked()
    read_end, write_end = os.pipe()
    late = jsonrpc.result(asked["id"], {"fds": [{"role": "hold"}]})
    packet.send(wire.theirs, late, [write_end])
    os.close(write_end)
    packet.send(wire.theirs, jsonrpc.notification("event", {"seq": 1}))
    assert await wire.client.next_event() == {"seq": 1}
    assert os.read(read_end, 1) == b""
    os.close(read_end)


async def test_events_reach_whoever_waits_while_others_call(wire: Wire) -> None:
    events: list[object] = []

    async def follow() -> None:
        while len(events) < 3:
            events.append(await wire.client.next_event())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        nursery.start_soon(wire.client.call, "m")
        await trio.testing.wait_all_tasks_blocked()
        (asked,) = wire.asked()
        packet.send(wire.theirs, jsonrpc.notification("event", {"seq": 1}))
        packet.send(wire.theirs, jsonrpc.notification("event", {"seq": 2}))
        wire.say(asked["id"], 7)
        await trio.testing.wait_all_tasks_blocked()
        packet.send(wire.theirs, jsonrpc.notification("event", {"seq": 3}))
    assert events == [{"seq": 1}, {"seq": 2}, {"seq": 3}]


async def _expect(client: Client, error: type[ClientError], said: str) -> None:
    with pytest.raises(error, match=said):
        await client.call("m")


async def test_the_end_of_the_connection_reaches_every_task(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(_expect, wire.client, ConnectionLost, r"closed|broke")
        await trio.testing.wait_all_tasks_blocked()
        wire.theirs.close()


async def test_closing_wakes_whoever_waits(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(_expect, wire.client, ConnectionLost, "closed here")
        await trio.testing.wait_all_tasks_blocked()
        wire.client.close()
    with pytest.raises(ConnectionLost):
        await wire.client.next_event()


async def test_why_the_daemon_left(wire: Wire) -> None:
    packet.send(wire.theirs, jsonrpc.refusal(None, Refusal(Reason.quota, "too many", {})))
    wire.theirs.close()
    with pytest.raises(Refused, match="too many"):
        await wire.client.hello()


async def test_why_the_daemon_left_with_our_calls_unread(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect, wire.client, Refused, "too many")
        await trio.testing.wait_all_tasks_blocked()
        packet.send(wire.theirs, jsonrpc.refusal(None, Refusal(Reason.quota, "too many", {})))
        wire.theirs.close()


@pytest.mark.parametrize("data", [b"", b"x" * 65537, b"{}"])
async def test_packets_that_break_the_rules(wire: Wire, data: bytes) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect, wire.client, ProtocolError, "packet|JSON-RPC")
        await trio.testing.wait_all_tasks_blocked()
        wire.theirs.send(data)
    assert wire.asked()


async def test_sending_waits_for_room(wire: Wire) -> None:
    wire.client._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    calls = 50
    async with trio.open_nursery() as nursery:
        for _ in range(calls):
            nursery.start_soon(wire.client.call, "m", {"text": "x" * 500})
        answered = 0
        while answered < calls:
            await trio.testing.wait_all_tasks_blocked()
            asked = wire.asked()
            assert 0 < len(asked) < calls
            for one in asked:
                wire.say(one["id"], None)
            answered += len(asked)


async def test_asks_what_a_hot_reset_hits(isod: Client) -> None:
    assert (await isod.isolation(NIC)).isolation == "unknown"
    assert (await isod.reset_set(NIC)).reset.hot == "permitted_when"
