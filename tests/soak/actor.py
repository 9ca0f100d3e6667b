"""One client: what it does with a connection, drawn anew for each."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import trio

from isod.model.request import PACKET_BYTES
from isod.wire.packet import close_all

from .connection import Connection, EndedError
from .machine import addresses
from .owners import LockNumbers, Ownership

HAND_OVERS = ("iommufd", "group", "nodes")
LOOKS = ("hello", "host.info", "host.devices", "host.groups", "lease.list")
# What a client may be told; everything else is a fault of the daemon's.
EXPECTED = {"group_busy", "quota", "in_use", "reset_domain_shared", "gone"}


class UnexpectedError(AssertionError):
    """An answer that nobody should get."""


@dataclass(frozen=True)
class Place:
    """Where the crowd is: the socket and the folder of locks."""

    socket: Path
    owners: Path


class Held:
    """A lease in a client's hands. Owns its fds."""

    def __init__(self, result: dict[str, Any], fds: tuple[int, ...], ownership: Ownership) -> None:
        self.id = result["lease"]["id"]
        self.secret = result["lease"]["secret"]
        self._ownership = ownership
        self._holds: list[int] = []
        self._files: list[int] = []
        self.take(result, fds)

    def take(self, result: dict[str, Any], fds: tuple[int, ...]) -> None:
        """These, too, from now on."""
        for file, descriptor in zip(result["fds"], fds, strict=True):
            (self._holds if file["role"] == "hold" else self._files).append(descriptor)

    def close_files(self) -> None:
        """All but the holds, so that the lease lives on."""
        files, self._files = self._files, []
        close_all(files)

    def close_former_holds(self) -> None:
        """All but the latest."""
        former, self._holds = self._holds[:-1], self._holds[-1:]
        close_all(former)

    def let_go(self) -> None:
        self._ownership.end()
        self.close_files()
        holds, self._holds = self._holds, []
        close_all(holds)


class Actor:
    """``counts`` says what it has done; an operation is an answer or an end."""

    def __init__(
        self, place: Place, numbers: LockNumbers, random: Random, counts: Counter[str]
    ) -> None:
        self._place = place
        self._numbers = numbers
        self._random = random
        self._counts = counts

    async def live(self) -> None:
        """For ever, one connection after the other."""
        roles = (self._borrow, self._look, self._flood, self._stall, self._watch)
        weights = (50, 25, 10, 8, 7)
        while True:
            role = self._random.choices(roles, weights)[0]
            with closing(await Connection.open(self._place.socket)) as connection:
                try:
                    await role(connection)
                except EndedError:
                    self._counts["ended by the daemon"] += 1
                finally:
                    self._counts["operations"] += connection.answers + 1
                    self._counts[role.__name__.strip("_")] += 1

    async def _borrow(self, connection: Connection) -> None:
        held: list[Held] = []
        try:
            for _ in range(self._random.randint(1, 6)):
                if held and self._random.random() < 0.4:
                    await self._release(connection, held.pop())
                elif held and self._random.random() < 0.4:
                    await self._open_anew(connection, self._random.choice(held))
                elif (lease := await self._acquire(connection)) is not None:
                    held.append(lease)
                await trio.sleep(self._random.random() * 0.05)
            if self._random.random() < 0.5:
                # The rest dies with its files, the connection going first or last.
                while held:
                    await self._release(connection, held.pop())
            elif self._random.random() < 0.5:
                connection.close()
        finally:
            for lease in held:
                lease.let_go()
                self._counts["let go"] += 1

    async def _acquire(self, connection: Connection) -> Held | None:
        wishes: dict[str, object] = {"hand_over": self._random.choice(HAND_OVERS)}
        if self._random.random() < 0.2:
            wishes["wait"] = self._random.choice((0.05, 0.5))
        if self._random.random() < 0.2:
            wishes["key"] = f"k{self._random.randrange(1 << 40)}"
        count = self._random.choice((1, 1, 1, 2, 3))
        wanted = [{"address": f"pci:{one}"} for one in self._random.sample(addresses(), count)]
        answer, fds = await connection.ask("lease.acquire", devices=wanted, **wishes)
        if not self._granted(answer):
            return None
        self._counts["granted"] += 1
        result = answer["result"]
        self._check_files(answer, fds)
        devices = [device["address"] for device in result["lease"]["devices"]]
        try:
            ownership = await Ownership.begin(self._place.owners, self._numbers, devices)
        except BaseException:
            close_all(fds)
            raise
        return Held(result, fds, ownership)

    async def _open_anew(self, connection: Connection, held: Held) -> None:
        """Ask for the files again, mostly with the former ones closed, as one should."""
        if self._random.random() < 0.8:
            held.close_files()
        answer, fds = await connection.ask("lease.open", lease=held.id, secret=held.secret)
        if not self._granted(answer):
            return
        self._check_files(answer, fds)
        held.take(answer["result"], fds)
        self._counts["opened anew"] += 1
        if self._random.random() < 0.7:
            held.close_former_holds()

    @staticmethod
    def _check_files(answer: dict[str, Any], fds: tuple[int, ...]) -> None:
        if len(fds) != len(answer["result"]["fds"]):
            close_all(fds)
            raise UnexpectedError(f"{len(fds)} fds came along: {answer}")

    async def _release(self, connection: Connection, held: Held) -> None:
        held.let_go()
        # Its hold is closed: the lease may be over before the call arrives.
        answer, fds = await connection.ask("lease.release", lease=held.id, secret=held.secret)
        close_all(fds)
        if "error" in answer and answer["error"]["data"]["reason"] != "not_found":
            raise UnexpectedError(str(answer))

    async def _look(self, connection: Connection) -> None:
        for _ in range(self._random.randint(1, 40)):
            method = self._random.choice((*LOOKS, "lease.explain"))
            params: dict[str, object] = {}
            if method == "hello":
                params = {"client": "soak", "protocol": 1}
            elif method == "lease.explain":
                device = self._random.choice(addresses())
                params = {"devices": [{"address": f"pci:{device}"}]}
            answer, fds = await connection.ask(method, **params)
            close_all(fds)
            self._granted(answer)

    async def _flood(self, connection: Connection) -> None:
        kind = self._random.randrange(4)
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "host.info"}).encode()
        if kind == 0:
            await self._flood_with_calls(connection, call)
        elif kind == 1:
            near, far = os.pipe()
            try:
                for _ in range(10):
                    await connection.send(call, [near] * 100)
            finally:
                close_all((near, far))
        elif kind == 2:
            for _ in range(50):
                await connection.send(self._random.randbytes(self._random.randint(1, 500)))
                _, fds = await connection.receive()
                close_all(fds)
        else:
            await connection.send(b" " * (PACKET_BYTES + 1))
            while True:
                _, fds = await connection.receive()
                close_all(fds)

    async def _flood_with_calls(self, connection: Connection, call: bytes) -> None:
        """More than one may have in work; the daemon takes them as it likes."""
        calls = 200

        async def send() -> None:
            for _ in range(calls):
                await connection.send(call)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for _ in range(calls):
                _, fds = await connection.receive()
                close_all(fds)

    async def _stall(self, connection: Connection) -> None:
        """Ask for what comes with fds, and never read."""
        for _ in range(self._random.randint(0, 4)):
            device = self._random.choice(addresses())
            await connection.call("lease.acquire", devices=[{"address": f"pci:{device}"}])
        await trio.sleep(self._random.random() * 2)

    async def _watch(self, connection: Connection) -> None:
        answer, fds = await connection.ask("events.subscribe")
        close_all(fds)
        if not self._granted(answer):
            return
        if self._random.random() < 0.5:
            await trio.sleep(self._random.random() * 3)
            return
        for _ in range(self._random.randint(1, 50)):
            answer, fds = await connection.receive()
            close_all(fds)
            self._counts["events"] += 1

    def _granted(self, answer: Any) -> bool:
        if "result" in answer:
            return True
        reason = answer["error"]["data"]["reason"]
        self._counts[f"refused: {reason}"] += 1
        if reason not in EXPECTED:
            raise UnexpectedError(str(answer))
        return False
