"""What [limits] says is done where it happens, and the client is told why."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from isod.daemon.admin import Admin
from isod.daemon.admin_rights import AdminRights
from isod.daemon.connections import Connections
from isod.daemon.gate import Gate
from isod.daemon.listen import EVERYBODY, accept, listen
from isod.daemon.needs import Needs
from isod.daemon.outcome import Outcome
from isod.daemon.peers import Peers
from isod.daemon.store import Store
from isod.daemon.surveys import Surveys
from isod.daemon.world import World
from isod.kernel.simulated import open_host
from isod.model.effect import Effect
from isod.model.policy import Limits, Policy
from tests.unit.core.build import allow, device, host

from .test_connections import Log

HOST = host(*(device(f"01:00.{function}", function) for function in range(8)))


class Server:
    """A daemon's door on a socket in a folder. What is granted is never carried out, so that
    every acquire stays under way."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.path = folder / "isod.sock"
        self.store = Store(folder / "state")
        self.world = World(self.store, Log(), HOST)
        self.world.carry_out = self._forget
        outcomes: dict[str, Outcome] = {}
        admin = Admin(self.world, [folder], AdminRights(self.path), nursery)
        kernel = open_host(folder / "host")
        needs = Needs(kernel, self.world, nursery)
        surveys = Surveys(folder / "survey", self.world)
        gate = Gate(self.world, outcomes, admin, needs, surveys, Peers(kernel), simulated=True)
        connections = Connections(lambda: self.world.policy.limits, Log())
        self.listener = listen(self.path, EVERYBODY, None)
        nursery.start_soon(partial(accept, self.listener, gate, connections, admin=False))

    def limit(self, **limits: Any) -> None:
        self.world.policy = Policy((allow(name="all"),), limits=Limits(**limits))

    async def connect(self) -> trio.socket.SocketType:
        client = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        await client.connect(str(self.path))
        return client

    def _forget(self, effect: Effect) -> None:
        pass


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        server = Server(tmp_path, nursery)
        with server.listener:
            yield server
        server.store.close()
        nursery.cancel_scope.cancel()


async def said(client: trio.socket.SocketType) -> Any:
    """The next packet; None at the end."""
    data = await client.recv(65536)
    return json.loads(data) if data else None


async def ask(client: trio.socket.SocketType, number: int, method: str, **params: Any) -> None:
    call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    await client.send(json.dumps(call).encode())


async def test_who_says_nothing_is_told_so_and_disconnected(
    server: Server, autojump_clock: MockClock
) -> None:
    server.limit(hello=7.0)
    with await server.connect() as client:
        began = trio.current_time()
        told = await said(client)
        assert trio.current_time() - began == pytest.approx(7.0)
        assert told["id"] is None
        assert told["error"]["data"]["reason"] == "quota"
        assert told["error"]["message"] == "nothing was asked in the first 7 seconds"
        assert await said(client) is None


async def test_who_has_asked_once_may_stay(server: Server, autojump_clock: MockClock) -> None:
    server.limit(hello=7.0)
    with await server.connect() as client:
        await ask(client, 1, "host.info")
        assert "result" in await said(client)
        await trio.sleep(1000)
        await ask(client, 2, "host.info")
        assert "result" in await said(client)


async def test_one_connection_too_many_is_told_why(server: Server) -> None:
    server.limit(connections_per_uid=1)
    with await server.connect() as first:
        await ask(first, 1, "host.info")
        await said(first)
        with await server.connect() as second:
            told = await said(second)
            assert told["error"]["data"]["reason"] == "quota"
            assert told["error"]["data"]["hint"] == "close one first"
            assert await said(second) is None
    await wait_all_tasks_blocked()
    with await server.connect() as third:
        await ask(third, 1, "host.info")
        assert "result" in await said(third), "there is room again"


async def test_requests_under_way_are_counted_by_connection(server: Server) -> None:
    server.limit(requests=2)
    with await server.connect() as client, await server.connect() as other:
        for number in range(3):
            wanted = [{"address": f"01:00.{number}"}]
            await ask(client, number, "lease.acquire", devices=wanted)
        told = await said(client)
        assert told["id"] == 2
        assert told["error"]["message"] == "2 requests of this connection are under way"
        assert told["error"]["data"]["hint"] == "wait for an answer first"
        await ask(client, 9, "host.info")
        assert "result" in await said(client), "what is answered at once is not under way"
        await ask(other, 1, "host.info")
        assert "result" in await said(other)


async def test_new_limits_hold_for_new_connections(server: Server) -> None:
    server.limit(requests=1)
    with await server.connect() as old:
        await ask(old, 0, "host.info")
        await said(old)
        server.limit(requests=2)
        with await server.connect() as new:
            for number, client in enumerate((old, old, new, new)):
                wanted = [{"address": f"01:00.{number}"}]
                await ask(client, number + 1, "lease.acquire", devices=wanted)
            assert (await said(old))["id"] == 2
            await ask(new, 9, "host.info")
            assert (await said(new))["id"] == 9, "neither of its two was refused"


async def test_a_user_has_so_many_requests_waiting(server: Server) -> None:
    server.limit(waits_per_uid=1)
    wanted = [{"address": "01:00.0"}]
    with await server.connect() as client:
        for number in (1, 2, 3):
            await ask(client, number, "lease.acquire", devices=wanted, wait=60)
        told = await said(client)
        assert told["id"] == 3, "the first has the group, the second waits for it"
        assert told["error"]["data"]["reason"] == "quota"
        assert "waiting" in told["error"]["message"]


async def test_a_user_has_so_many_leases(server: Server) -> None:
    server.limit(leases_per_uid=1)
    with await server.connect() as client, await server.connect() as other:
        await ask(client, 1, "lease.acquire", devices=[{"address": "01:00.0"}])
        await ask(client, 2, "host.info")
        await said(client)
        await ask(other, 1, "lease.acquire", devices=[{"address": "01:00.1"}])
        told = await said(other)
        assert told["error"]["message"] == "you have 1 leases, the most that one user may have"
