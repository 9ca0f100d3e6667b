"""Events on a connection: in order with its replies, and stuck without harm to anybody else."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from isod.daemon.gate import Answer, Gate
from isod.daemon.identify import Identity
from isod.daemon.outbox import SEND_SECONDS
from isod.daemon.session import Session
from isod.daemon.store import Store
from isod.daemon.subscribers import Subscribers
from isod.daemon.world import World
from isod.model.method import Method
from isod.model.policy import Limits
from tests.unit.core.build import host

from .news import Records, identity

UNREAD = 5


class EventGate:
    """A gate that knows of events alone."""

    def __init__(self, world: World) -> None:
        self.subscribers = Subscribers(world)

    async def look(self, method: str) -> None:
        pass

    def call(self, who: Identity, method: Method, params: dict[str, object]) -> Answer:
        asked: Any = method.params.model_validate(params)
        if method.name == "events.subscribe":
            return self.subscribers.subscribe(who, asked)
        return self.subscribers.unsubscribe(who, asked)


class Line:
    """A client's end of a session, in packets."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        ours, theirs = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # as little as there is
        self._socket = ours
        self.ended = trio.Event()
        gate = cast(Gate, EventGate(world))
        nursery.start_soon(self._serve, Session(theirs, identity(), gate, Limits), theirs)

    async def _serve(self, session: Session, theirs: trio.socket.SocketType) -> None:
        with theirs:
            await session.run()
        self.ended.set()

    async def call(self, method: str, **params: object) -> None:
        asked = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
        await self._socket.send(json.dumps(asked).encode())

    async def read(self) -> Any:
        return json.loads(await self._socket.recv(65536))

    async def read_all(self) -> list[Any]:
        """Whatever comes without anything more happening."""
        found: list[Any] = []
        with trio.move_on_after(60):  # the clock jumps when nothing moves any more
            while True:
                found.append(await self.read())
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = Store(tmp_path)
    world = World(store, Records(), host())
    world.policy = replace(world.policy, limits=Limits(unread_events=UNREAD))
    yield world
    store.close()


def happen(world: World, count: int) -> None:
    for number in range(count):
        world.publisher.policy_reloaded(number)


async def test_the_reply_comes_before_the_first_event(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery
) -> None:
    line = Line(world, nursery)
    happen(world, 3)
    await line.call("events.subscribe", since=world.publisher.ring.latest - 3)
    reply, *events = await line.read_all()
    assert reply["id"] == "events.subscribe"
    assert [event["params"]["policy"] for event in events] == [0, 1, 2]
    line.close()


async def test_a_batch_is_answered_before_the_first_event(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery
) -> None:
    line = Line(world, nursery)
    call = {"jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": {}}
    await line._socket.send(json.dumps([call, {**call, "id": 2}]).encode())
    await wait_all_tasks_blocked()
    happen(world, 1)
    batch, *events = await line.read_all()
    names = {reply["result"]["subscription"] for reply in batch}
    assert {event["params"]["subscription"] for event in events} == names
    line.close()


async def test_nothing_comes_after_the_reply_to_unsubscribe(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery
) -> None:
    line = Line(world, nursery)
    await line.call("events.subscribe")
    name = (await line.read())["result"]["subscription"]
    happen(world, UNREAD)
    await line.call("events.unsubscribe", subscription=name)
    await wait_all_tasks_blocked()
    happen(world, UNREAD)
    assert (await line.read_all())[-1]["id"] == "events.unsubscribe"
    line.close()


async def test_a_stalled_subscriber_gets_what_waited_and_a_gap(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery
) -> None:
    """However long it takes: it is not disconnected, and what follows is not for it."""
    line = Line(world, nursery)
    await line.call("events.subscribe")
    await line.read()
    await wait_all_tasks_blocked()
    for _ in range(100):
        happen(world, 1)
        await wait_all_tasks_blocked()
    await trio.sleep(100 * SEND_SECONDS)
    assert not line.ended.is_set()
    events = [one["params"] for one in await line.read_all()]
    assert [event["kind"] for event in events[-2:]] == ["policy.reloaded", "gap"]
    numbers = [event["seq"] for event in events[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert events[-1]["seq"] == numbers[-1]
    assert len(numbers) < 100
    assert world.publisher.subscriptions == []
    line.close()


async def test_a_stalled_subscriber_that_asks_has_to_read(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery
) -> None:
    line = Line(world, nursery)
    await line.call("events.subscribe")
    for _ in range(100):
        await wait_all_tasks_blocked()
        happen(world, 1)
    await line.call("events.unsubscribe", subscription="S9")
    await line.ended.wait()
    assert world.publisher.subscriptions == []
    line.close()


async def test_a_subscriber_that_leaves_is_forgotten(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery
) -> None:
    line = Line(world, nursery)
    await line.call("events.subscribe")
    await line.read()
    assert len(world.publisher.subscriptions) == 1
    line.close()
    await line.ended.wait()
    assert world.publisher.subscriptions == []


async def test_a_notification_subscribes_to_nothing(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery
) -> None:
    line = Line(world, nursery)
    await line._socket.send(b'{"jsonrpc":"2.0","method":"events.subscribe"}')
    await wait_all_tasks_blocked()
    assert world.publisher.subscriptions == []
    line.close()
