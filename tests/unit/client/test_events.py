"""Events as programs take them: in order, with a clear word where some were left out."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from isod.client import aio, blocking
from isod.client.errors import ConnectionLost, EventsLost
from isod.wire import jsonrpc, packet

from .fake_daemon import in_a_thread, socket_pair


class News:
    """The daemon's end of a connection, played by the test."""

    def __init__(self, theirs: socket.socket) -> None:
        self._socket = theirs
        self.asked: list[Any] = []

    def answer(self, result: object) -> None:
        """Wait for a call and answer it."""
        data = packet.receive_plain(self._socket)
        assert data is not None
        self.asked.append(json.loads(data))
        packet.send(self._socket, jsonrpc.result(self.asked[-1]["id"], result))

    def tell(self, seq: int, kind: str = "lease.granted", name: str = "S1", **more: object) -> None:
        notice = {"subscription": name, "seq": seq, "kind": kind, "at": 5.0, **more}
        packet.send(self._socket, jsonrpc.notification("event", notice))


@contextmanager
def news() -> Iterator[tuple[socket.socket, News]]:
    with socket_pair() as (ours, theirs):
        yield ours.dup(), News(theirs)


SUBSCRIBED = {"subscription": "S1", "seq": 40}
ENDED = {"subscription": "S1"}


# --- blocking -----------------------------------------------------------------------------------


def test_a_program_iterates_over_events() -> None:
    with news() as (ours, daemon), blocking.Client(ours) as isod:
        with in_a_thread(daemon.answer, SUBSCRIBED):
            events = isod.events(["lease"])
        assert daemon.asked[0]["params"] == {"kinds": ["lease"]}
        assert events.seq == 40
        daemon.tell(41, lease="L7", uid=1000)
        daemon.tell(44, "lease.of_a_later_version", lease="L7", member="unknown")
        first, second = next(events), next(events)
        assert (first.kind, first.lease, first.family) == ("lease.granted", "L7", "lease")
        assert second.kind == "lease.of_a_later_version"
        assert events.seq == 44
        with in_a_thread(daemon.answer, ENDED):
            events.close()
        assert daemon.asked[1]["method"] == "events.unsubscribe"
        assert list(events) == []
        events.close()


def test_events_that_were_left_out_are_an_error_and_the_end() -> None:
    with news() as (ours, daemon), blocking.Client(ours) as isod:
        with in_a_thread(daemon.answer, SUBSCRIBED):
            events = isod.events(since=12)
        assert daemon.asked[0]["params"] == {"since": 12}
        daemon.tell(45, "gap", note="you did not read", lost=False)
        with events, pytest.raises(EventsLost, match="you did not read") as lost:
            next(events)
        assert (lost.value.seq, lost.value.gone) == (45, False)
        assert list(events) == []
        assert len(daemon.asked) == 1, "what is over need not be ended"


def test_the_end_of_the_connection_is_an_error() -> None:
    with news() as (ours, daemon), blocking.Client(ours) as isod:
        with in_a_thread(daemon.answer, SUBSCRIBED):
            events = isod.events()
        daemon._socket.close()
        with events, pytest.raises(ConnectionLost):
            next(events)


def test_there_is_no_such_family() -> None:
    with (
        news() as (ours, _),
        blocking.Client(ours) as isod,
        pytest.raises(ValueError, match="kinds"),
    ):
        isod.events(["weather"])  # type: ignore[list-item]


# --- trio ---------------------------------------------------------------------------------------


async def test_tasks_follow_subscriptions_of_their_own() -> None:
    with news() as (ours, daemon):
        isod = aio.Client(ours)
        seen: dict[str, list[int]] = {"S1": [], "S2": []}

        async def follow(name: str) -> None:
            async with isod.events() as events:
                assert events.subscription == name
                async for event in events:
                    seen[name].append(event.seq)

        async with trio.open_nursery() as nursery:
            for name in seen:
                nursery.start_soon(follow, name)
                await wait_all_tasks_blocked()
                daemon.answer({"subscription": name, "seq": 0})
                daemon.tell(1, name=name)  # before anybody could have looked for it
                await wait_all_tasks_blocked()
            for seq, name in ((2, "S2"), (3, "S1"), (4, "S1")):
                daemon.tell(seq, name=name)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            isod.close()
        assert seen == {"S1": [1, 3, 4], "S2": [1, 2]}


async def test_the_subscription_ends_with_the_block() -> None:
    with news() as (ours, daemon):
        isod = aio.Client(ours)

        async def leave_at_once() -> None:
            async with isod.events(["device"], since=7) as events:
                assert events.seq == 7

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave_at_once)
            await wait_all_tasks_blocked()
            daemon.answer(SUBSCRIBED)
            await wait_all_tasks_blocked()
            daemon.answer(ENDED)
        assert [call["method"] for call in daemon.asked] == [
            "events.subscribe",
            "events.unsubscribe",
        ]
        assert daemon.asked[0]["params"] == {"kinds": ["device"], "since": 7}
        isod.close()


async def test_whoever_is_cancelled_is_not_kept_by_a_daemon_that_does_not_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with news() as (ours, daemon):
        isod = aio.Client(ours)
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                async with isod.events() as events:
                    await anext(events)

            nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            daemon.answer(SUBSCRIBED)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert trio.current_time() < 60
        isod.close()


async def test_events_that_were_left_out_are_an_error_in_trio_too() -> None:
    with news() as (ours, daemon):
        isod = aio.Client(ours)
        lost: list[EventsLost] = []

        async def follow() -> None:
            async with isod.events() as events:
                try:
                    async for _ in events:
                        pass
                except EventsLost as error:
                    lost.append(error)
                async for _ in events:
                    raise AssertionError("it is over")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            daemon.answer(SUBSCRIBED)
            daemon.tell(41)
            daemon.tell(45, "gap", lost=True, note="it is not known any more")
        assert (lost[0].seq, lost[0].gone) == (45, True)
        isod.close()
