"""A daemon's door: a socket with a gate and a world behind it, in the test's own process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from isod.daemon.admin import Admin
from isod.daemon.admin_rights import AdminRights
from isod.daemon.connections import Connections
from isod.daemon.foreign import Foreign
from isod.daemon.gate import Gate
from isod.daemon.listen import EVERYBODY, accept, listen
from isod.daemon.needs import Needs
from isod.daemon.outcome import Delivery, Outcome
from isod.daemon.peers import Peers
from isod.daemon.store import Store
from isod.daemon.surveys import Surveys
from isod.daemon.world import World
from isod.kernel.simulated import open_host
from isod.model.effect import Effect, Prepare
from isod.model.policy import Limits, Policy
from isod.model.step import OpenFile
from isod.wire.packet import CONTROL_BYTES, RECEIVE_FLAGS, unpack
from tests.unit.core.build import allow, device, host

from .test_connections import Log

HOST = host(*(device(f"01:00.{function}", function) for function in range(8)))


class Door:
    """A daemon's door on a socket in a folder. What is granted is never carried out, so that
    every acquire stays under way."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.path = folder / "isod.sock"
        self.store = Store(folder / "state")
        self.world = World(self.store, Log(), HOST)
        self.world.carry_out = self._forget
        self._given = 0
        self._one_more = trio.Event()
        self.outcomes: dict[str, Outcome] = {}
        admin = Admin(self.world, [folder], AdminRights(self.path), nursery)
        kernel = open_host(folder / "host")
        needs = Needs(kernel, self.world, nursery)
        surveys = Surveys(folder / "survey", self.world)
        foreign, peers = Foreign(kernel, self.world), Peers(kernel)
        gate = Gate(
            self.world,
            self.outcomes,
            admin,
            needs,
            foreign,
            surveys,
            peers,
            holds=lambda lease: 0,
            simulated=True,
        )
        self.accounts = gate.accounts
        connections = Connections(self.accounts, Log())
        self.listener = listen(self.path, EVERYBODY, None)
        nursery.start_soon(partial(accept, self.listener, gate, connections, admin=False))

    def limit(self, **limits: Any) -> None:
        self.world.policy = Policy((allow(name="all"),), limits=Limits(**limits))

    async def connect(self) -> trio.socket.SocketType:
        client = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        await client.connect(str(self.path))
        return client

    def give(self, fds: int) -> None:
        """Let every acquire from now on be answered by so many fds."""

        def carry_out(effect: Effect) -> None:
            if isinstance(effect, Prepare):
                files = tuple(OpenFile("hold", os.dup(0)) for _ in range(fds))
                self.outcomes.pop(effect.lease.id).set(Delivery(effect.lease, files))
                self._given += 1
                self._one_more.set()

        self.world.carry_out = carry_out

    async def given(self, count: int) -> None:
        """Wait until so many acquires in all were answered, and all is still."""
        while self._given < count:
            self._one_more = trio.Event()
            await self._one_more.wait()
        await wait_all_tasks_blocked()

    def _forget(self, effect: Effect) -> None:
        pass


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Door]:
    """A door in a folder, for as long as the context lasts."""
    async with trio.open_nursery() as nursery:
        door = Door(folder, nursery)
        with door.listener:
            yield door
        door.store.close()
        nursery.cancel_scope.cancel()


async def said(client: trio.socket.SocketType) -> Any:
    """The next packet; None at the end."""
    with trio.fail_after(60):
        data = await client.recv(65536)
    return json.loads(data) if data else None


async def ask(client: trio.socket.SocketType, number: int, method: str, **params: Any) -> None:
    call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    await client.send(json.dumps(call).encode())


async def acquire(client: trio.socket.SocketType, number: int, **more: Any) -> None:
    """Ask for the device of this number, under this number."""
    wanted = [{"address": f"01:00.{number}"}]
    await ask(client, number, "lease.acquire", devices=wanted, **more)


async def take(client: trio.socket.SocketType) -> tuple[Any, int]:
    """The next packet, and how many fds came with it; they are closed."""
    with trio.fail_after(60):
        received = await client.recvmsg(65536, CONTROL_BYTES, RECEIVE_FLAGS)
    packet = unpack(received, client.fileno())
    assert packet is not None
    packet.close()
    return json.loads(packet.data), len(packet.fds)
