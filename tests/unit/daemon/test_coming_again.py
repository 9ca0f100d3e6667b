"""Whoever comes again and again waits its turn, whatever it did, and keeps its place meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from isod.model.request import PACKET_BYTES

from .door import Door, ask, said

AT_ONCE, PER_SECOND, TIMES = 3, 4, 20


async def break_the_rules(door: Door) -> None:
    with await door.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        await client.send(b" " * (PACKET_BYTES + 1))
        assert await said(client) is None


async def ask_and_leave(door: Door) -> None:
    with await door.connect() as client:
        await ask(client, 1, "host.info")
        assert "result" in await said(client)


async def ask_nothing(door: Door) -> None:
    """The end of what it sends is seen when its turn has come."""
    with await door.connect() as client:
        client.shutdown(socket.SHUT_WR)
        assert await said(client) is None


@pytest.mark.parametrize("come", [break_the_rules, ask_and_leave, ask_nothing])
async def test_whoever_comes_again_and_again_waits(
    door: Door, autojump_clock: MockClock, come: Callable[[Door], Awaitable[None]]
) -> None:
    door.limit(connections_per_uid=AT_ONCE, connects_per_second=PER_SECOND)
    began = trio.current_time()
    for _ in range(AT_ONCE):
        await come(door)
    assert trio.current_time() - began < 0.1
    for _ in range(TIMES):
        await come(door)
    assert trio.current_time() - began == pytest.approx(TIMES / PER_SECOND, abs=0.1)


async def test_who_waits_keeps_its_place(door: Door, autojump_clock: MockClock) -> None:
    door.limit(connections_per_uid=AT_ONCE, connects_per_second=PER_SECOND)
    for _ in range(AT_ONCE):
        await ask_and_leave(door)
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(ask_and_leave, door)
        await trio.testing.wait_all_tasks_blocked()
        with await door.connect() as client:
            told = await said(client)
            assert told["error"]["data"]["reason"] == "quota"
