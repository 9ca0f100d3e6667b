"""What [limits] says is done where it happens, and the client is told why."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from .door import Door, ask, said


async def test_who_has_asked_once_may_stay(door: Door, autojump_clock: MockClock) -> None:
    door.limit(hello=7.0)
    with await door.connect() as client:
        await ask(client, 1, "host.info")
        assert "result" in await said(client)
        await trio.sleep(1000)
        await ask(client, 2, "host.info")
        assert "result" in await said(client)


async def test_one_connection_too_many_is_told_why(door: Door) -> None:
    door.limit(connections_per_uid=1)
    with await door.connect() as first:
        await ask(first, 1, "host.info")
        await said(first)
        with await door.connect() as second:
            told = await said(second)
            assert told["error"]["data"]["reason"] == "quota"
            assert told["error"]["data"]["hint"] == "close one first"
            assert await said(second) is None
    await wait_all_tasks_blocked()
    with await door.connect() as third:
        await ask(third, 1, "host.info")
        assert "result" in await said(third), "there is room again"


async def test_requests_under_way_are_counted_by_connection(door: Door) -> None:
    door.limit(requests=2)
    with await door.connect() as client, await door.connect() as other:
        for number in range(3):
            wanted = [{"address": f"01:00.{number}"}]
            await ask(client, number, "lease.acquire", devices=wanted)
        told = await said(client)
        assert told["id"] == 2
        assert told["error"]["message"] == (
            "this connection has 2 requests under way, the most that one connection may have"
        )
        assert told["error"]["data"]["hint"] == "wait for an answer first"
        await ask(client, 9, "host.info")
        assert "result" in await said(client), "what is answered at once is not under way"
        await ask(other, 1, "host.info")
        assert "result" in await said(other)


async def test_new_limits_hold_at_once(door: Door) -> None:
    door.limit(requests=1)
    with await door.connect() as client:
        wanted = [[{"address": f"01:00.{number}"}] for number in range(4)]
        await ask(client, 0, "lease.acquire", devices=wanted[0])
        await ask(client, 1, "lease.acquire", devices=wanted[1])
        assert (await said(client))["error"]["data"]["reason"] == "quota"
        door.limit(requests=2)
        await ask(client, 2, "lease.acquire", devices=wanted[2])
        await ask(client, 3, "lease.acquire", devices=wanted[3])
        assert (await said(client))["id"] == 3, "the one before it was begun"


async def test_a_user_has_so_many_requests_waiting(door: Door) -> None:
    door.limit(waits_per_uid=1)
    wanted = [{"address": "01:00.0"}]
    with await door.connect() as client:
        for number in (1, 2, 3):
            await ask(client, number, "lease.acquire", devices=wanted, wait=60)
        told = await said(client)
        assert told["id"] == 3, "the first has the group, the second waits for it"
        assert told["error"]["data"]["reason"] == "quota"
        assert "waiting" in told["error"]["message"]


async def test_a_user_has_so_many_leases(door: Door) -> None:
    door.limit(leases_per_uid=1)
    with await door.connect() as client, await door.connect() as other:
        await ask(client, 1, "lease.acquire", devices=[{"address": "01:00.0"}])
        await ask(client, 2, "host.info")
        await said(client)
        await ask(other, 1, "lease.acquire", devices=[{"address": "01:00.1"}])
        told = await said(other)
        assert told["error"]["message"] == "you have 1 leases, the most that one user may have"
