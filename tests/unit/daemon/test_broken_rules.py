"""Whoever sends what is no packet is thrown out, and cannot come again and again at once."""

from __future__ import annotations

import socket

import trio
from trio.testing import MockClock

from isod.daemon.listen import BROKEN_RULES_SECONDS
from isod.model.request import PACKET_BYTES

from .door import Door, ask, said

PLACES = 3


async def break_the_rules(door: Door) -> None:
    with await door.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        await client.send(b" " * (PACKET_BYTES + 1))
        assert await said(client) is None


async def test_its_place_stays_taken_for_a_while(door: Door, autojump_clock: MockClock) -> None:
    door.limit(connections_per_uid=PLACES)
    began = trio.current_time()
    for _ in range(PLACES):
        await break_the_rules(door)
    with await door.connect() as client:
        told = await said(client)
        assert told["error"]["data"]["reason"] == "quota"
    assert trio.current_time() - began < BROKEN_RULES_SECONDS
    await trio.sleep(BROKEN_RULES_SECONDS)
    with await door.connect() as client:
        await ask(client, 1, "host.info")
        assert "result" in await said(client)


async def test_who_leaves_as_one_does_may_come_at_once(
    door: Door, autojump_clock: MockClock
) -> None:
    door.limit(connections_per_uid=1)
    for number in range(10):
        with await door.connect() as client:
            await ask(client, number, "host.info")
            assert "result" in await said(client)
        await trio.testing.wait_all_tasks_blocked()
