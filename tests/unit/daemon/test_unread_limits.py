"""Whoever does not read is refused, then disconnected, and still counts for what it keeps."""

from __future__ import annotations

import json
import os

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from isod.core.accounts import Resource

from .door import Door, acquire, ask, said, take

UID = os.geteuid()


def unread(door: Door) -> int:
    return door.accounts.of_uid(UID, Resource.unread_fds)


def connections(door: Door) -> int:
    return door.accounts.of_uid(UID, Resource.connections)


async def pass_time(clock: MockClock, seconds: int) -> None:
    """Second by second, so that whoever looks now and then does."""
    for _ in range(seconds):
        clock.jump(1)
        await wait_all_tasks_blocked()


async def test_who_leaves_fds_unread_gets_no_more_until_it_has_read(door: Door) -> None:
    door.limit(unread_fds=4)
    door.give(2)
    with await door.connect() as client:
        await acquire(client, 0)
        await acquire(client, 1)
        await door.given(2)
        assert unread(door) == 4
        await ask(client, 2, "lease.open", lease="L1", secret="x")
        await wait_all_tasks_blocked()
        assert (await take(client))[1] == 2
        assert (await take(client))[1] == 2
        refused, fds = await take(client)
        assert fds == 0
        assert refused["id"] == 2
        assert refused["error"]["data"]["reason"] == "quota"
        assert refused["error"]["message"] == (
            "this connection has 4 file descriptors that wait to be read, the most that one "
            "connection may have"
        )
        await acquire(client, 3)
        assert (await take(client))[1] == 2


async def test_connections_of_one_user_share_what_may_be_unread(door: Door) -> None:
    door.limit(unread_fds_per_uid=4)
    door.give(2)
    with await door.connect() as one, await door.connect() as other:
        for number in range(2):
            await acquire(one, number)
        await door.given(2)
        await acquire(other, 2)
        refused = await said(other)
        assert refused["error"]["message"].startswith("you have 4 file descriptors that wait")


async def test_a_reply_for_which_there_is_no_room_waits_until_others_are_read(
    door: Door, mock_clock: MockClock
) -> None:
    door.limit(unread_fds=4)
    door.give(3)
    with await door.connect() as client:
        await acquire(client, 0)
        await acquire(client, 1)
        await door.given(2)
        await pass_time(mock_clock, 5)
        assert unread(door) == 3
        assert (await take(client))[1] == 3
        await pass_time(mock_clock, 1)
        assert (await take(client))[1] == 3


async def test_a_reply_for_which_there_never_is_room_is_refused_and_its_lease_ends(
    door: Door, mock_clock: MockClock
) -> None:
    """Another connection of the user is to blame."""
    door.limit(unread_fds_per_uid=4, read=20.0)
    door.give(3)
    with await door.connect() as client, await door.connect() as stalled:
        await pass_time(mock_clock, 1)
        await acquire(stalled, 0)
        await door.given(1)
        await acquire(client, 1)
        await door.given(2)
        await pass_time(mock_clock, 25)
        refused, fds = await take(client)
        assert (refused["id"], fds) == (1, 0)
        assert refused["error"]["message"] == (
            "you have 3 file descriptors that wait to be read; 4 are the most that one user may "
            "have"
        )
        assert unread(door) == 3


async def test_who_does_not_read_fds_is_disconnected_and_counts_until_it_lets_go(
    door: Door, mock_clock: MockClock
) -> None:
    """What lies in its socket stays there whatever isod closes. So it is no way to have more of it
    to connect anew."""
    door.limit(unread_fds=4, read=20.0)
    door.give(3)
    with await door.connect() as client:
        await acquire(client, 0)
        await door.given(1)
        await pass_time(mock_clock, 15)
        await ask(client, 7, "host.info")
        await pass_time(mock_clock, 15)
        assert (unread(door), connections(door)) == (3, 1)
        with pytest.raises(BrokenPipeError):
            await ask(client, 8, "host.info")
        assert (await take(client))[1] == 3
        assert (await said(client))["id"] == 7
        told = await said(client)
        assert told["id"] is None
        assert told["error"]["data"]["reason"] == "quota"
        assert told["error"]["message"] == "3 file descriptors were not read within 20 seconds"
        assert await said(client) is None
        await pass_time(mock_clock, 5)
        assert (unread(door), connections(door)) == (0, 0)


async def test_who_hangs_up_counts_no_more(door: Door, mock_clock: MockClock) -> None:
    door.limit()
    door.give(3)
    with await door.connect() as client:
        await acquire(client, 0)
        await door.given(1)
        assert unread(door) == 3
    await pass_time(mock_clock, 5)
    assert (unread(door), connections(door)) == (0, 0)


async def test_who_reads_is_left_alone_for_ever(door: Door, mock_clock: MockClock) -> None:
    door.limit(read=20.0)
    door.give(3)
    with await door.connect() as client:
        for number in range(5):
            await acquire(client, number)
            answer, fds = await take(client)
            assert fds == 3, answer
            await pass_time(mock_clock, 30)
        await ask(client, 7, "host.info")
        assert "result" in await said(client)


async def test_requests_under_way_may_not_be_too_long_together(door: Door) -> None:
    door.limit(bytes=20_000)
    blanks = " " * 8000
    with await door.connect() as client:
        for number in range(3):
            wanted = json.dumps({"devices": [{"address": f"01:00.{number}"}]})
            call = f'{{"jsonrpc":"2.0","id":{number},"method":"lease.acquire","params":{wanted}}}'
            await client.send((call + blanks).encode())
        refused = await said(client)
        assert refused["id"] == 2
        assert refused["error"]["data"]["reason"] == "quota"
        assert refused["error"]["message"].startswith("this connection has 16")
        assert refused["error"]["message"].endswith(
            "bytes of requests under way and of answers and events that wait; 20000 are the most "
            "that one connection may have"
        )
        await ask(client, 9, "host.info")
        assert "result" in await said(client)


async def test_answers_that_wait_may_not_be_too_long_together(
    door: Door, autojump_clock: MockClock
) -> None:
    """The user's connections wait for a reader; what is over the line is disconnected."""
    door.limit(bytes_per_uid=100_000)
    with await door.connect() as one, await door.connect() as other:
        for client in (one, other):
            with trio.move_on_after(3):
                while True:
                    await ask(client, 1, "rpc.discover")
        assert door.accounts.of_uid(UID, Resource.bytes) <= 100_000
