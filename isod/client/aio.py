"""The client for trio.

    async with Client.connect() as isod:
        with await isod.acquire(["0000:01:00.0"], hand_over="iommufd") as lease:
            use(lease.files.iommufd, lease.files.device("0000:01:00.0"))

Any number of tasks may call at the same time. There is no task in the background: of those who
wait, one reads the socket for all of them. When isod is restarted, one of those who call connects
again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, Self, TypeVar

import trio

from isod.model.address import Address
from isod.model.isolation import IsolationInfo
from isod.model.notice import Notice, Subscribed
from isod.model.reply import DeviceInfo, GroupInfo, HelloResult, HostInfo, LeaseInfo
from isod.model.request import FAMILIES, Family
from isod.model.reset import ResetSetInfo
from isod.model.step import HandOver
from isod.model.terms import Anchor

from . import exchange, reconnection
from .aio_connection import Connection, carry
from .connecting import NotYet, connect_now, new_socket
from .conversation import Answer
from .errors import CallError, ClientError, ConnectionLost
from .event_queue import Event
from .event_stream import EventStream
from .exchange import Exchange, Grant, Question, Wanted
from .files import LeasedFiles
from .lease import HeldLease
from .location import cannot_connect, socket_path
from .reconnection import OnLost, Reconnection, Way
from .repetition import Call

UNSUBSCRIBE_SECONDS = 1.0

T = TypeVar("T")


class Client:
    """A connection to isod, made again when it is lost without a word (see ``connect``). Its
    methods raise Refused, ConnectionLost or ProtocolError. A call that is cancelled may still take
    effect; what it hands over is closed with the next packet that is read, or with the
    connection."""

    def __init__(self, sock: socket.socket, way: Way | None = None) -> None:
        """Take over a connected socket. ``connect`` is what you want."""
        self._connection = Connection(sock)
        self._way = way
        self._tries = Reconnection(way.seconds if way else 0.0)
        self._connecting = trio.Lock()
        self._attempt = trio.CancelScope()
        self._greeting: HelloResult | None = None

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        name: str = exchange.NAME,
        reconnect: float = reconnection.SECONDS,
        on_lost: OnLost | None = None,
    ) -> AsyncIterator[Self]:
        """Connect and say hello. The path defaults to ISOD_SOCKET, then /run/isod/isod.sock.

        A connection that isod ends without a reason, as by its restart, is made again: for so many
        seconds (``reconnect``; 0: not at all) isod is waited for. ``on_lost`` is told before. Calls
        are asked again where that is safe (an acquire needs a ``key``), waits go on for what is
        left of them, and so do events; other calls raise ConnectionLost with ``unknown`` set.
        """
        place = socket_path(path)
        way = Way(place, name, reconnect, on_lost) if reconnect > 0 else None
        client = cls(await _connected(place), way)
        try:
            client._greeting = await carry(exchange.hello(name), client._connection.ask)
            yield client
        finally:
            client.close()

    @property
    def greeting(self) -> HelloResult:
        """What the daemon said to hello."""
        if self._greeting is None:
            raise ClientError("hello was not said yet")
        return self._greeting

    async def hello(self, name: str = exchange.NAME) -> HelloResult:
        """Agree on the protocol; ``connect`` has done so."""
        self._greeting = await self._run(exchange.hello(name))
        return self._greeting

    async def info(self) -> HostInfo:
        """What this host and kernel offer."""
        return await self._run(exchange.info())

    async def devices(self) -> tuple[DeviceInfo, ...]:
        """All devices, page by page."""
        return await self._run(exchange.devices())

    async def groups(self) -> tuple[GroupInfo, ...]:
        """All IOMMU groups, page by page."""
        return await self._run(exchange.groups())

    async def isolation(self, address: Address | str) -> IsolationInfo:
        """Why a device's group is as it is, and what its isolation is worth."""
        return await self._run(exchange.isolation(address))

    async def reset_set(self, address: Address | str) -> ResetSetInfo:
        """What a hot reset of a device hits, and what is in its way."""
        return await self._run(exchange.reset_set(address))

    async def leases(self) -> tuple[LeaseInfo, ...]:
        """One's own leases."""
        return await self._run(exchange.leases())

    async def lease(self, identity: str) -> LeaseInfo:
        """One of one's own leases."""
        return await self._run(exchange.lease(identity))

    async def acquire(
        self,
        devices: Iterable[Wanted],
        *,
        hand_over: HandOver | None = None,
        iommufd: Literal["new", "none"] = "new",
        container: Literal["ready", "raw"] = "ready",
        reset: Literal["if-owned", "whole-set"] | None = None,
        wait: float = 0.0,
        memlock: int | None = None,
        key: str | None = None,
        anchor: Anchor | None = None,
    ) -> Lease:
        """Get devices: whole groups or nothing. The lease owns the fds; use it in ``with``.

        ``pool:NAME`` is one out of a pool, ``pool:NAME:2`` are two; which they are the lease says.

        ``reset`` "whole-set" takes everything that a hot reset would hit, too. ``wait`` is how
        many seconds to wait for groups that others have, in fair order. ``anchor`` says how long
        the lease lives; other than "hold" it outlives its files.

        Raises ValueError for an address that is none.
        """
        asked = exchange.acquire(
            devices, hand_over, iommufd, container, reset, wait, memlock, key, anchor
        )
        return Lease(self, await self._run(asked))

    async def open(self, identity: str, secret: str) -> Lease:
        """Get fresh fds of one's own lease, once the former ones are closed."""
        grant = await self._run(exchange.reopen(identity, secret))
        return Lease(self, grant, secret)

    async def release(self, identity: str, secret: str) -> LeaseInfo:
        """End a lease. It is draining until its files are closed, which is up to their owners."""
        return await self._run(exchange.release(identity, secret))

    async def call(self, method: str, params: Mapping[str, object] | None = None) -> object:
        """Call any method. Fds that come with the reply are closed."""
        return await self._run(exchange.call(method, params or {}))

    @asynccontextmanager
    async def events(
        self, kinds: Iterable[Family] = FAMILIES, since: int | None = None
    ) -> AsyncIterator[Events]:
        """Subscribe to events of these families; with ``since`` begin after the event of that
        ``seq``. The subscription ends with the block. Raises ValueError for no family.

            async with isod.events(["lease"]) as events:
                async for event in events:
                    print(event.kind, event.lease)
        """
        asked = tuple(kinds)
        subscribed, home = await self._subscribed(exchange.subscribe(asked, since))
        events = Events(self, home, asked, subscribed, since)
        try:
            yield events
        finally:
            events.home.forget(events.subscription)
            if not events.over:
                # Best effort: whoever leaves for an error or a deadline is not kept for long.
                with trio.move_on_after(UNSUBSCRIBE_SECONDS, shield=True), suppress(ClientError):
                    await carry(exchange.unsubscribe(events.subscription), events.home.ask)

    async def next_event(self, subscription: str | None = None) -> Event:
        """Wait for the next event, raw, of a subscription of this connection, or of any. Those
        that were made by ``call`` end with the connection."""
        return await self._connection.next_event(subscription)

    def close(self) -> None:
        """Close the connection; whoever waits gets ConnectionLost. Leases stay."""
        self._way = None
        self._attempt.cancel()
        self._connection.close()

    async def _run(self, dialogue: Exchange[T]) -> T:
        """Carry an exchange through, over as many connections as it takes."""
        return await carry(dialogue, self._ask)

    async def _ask(self, question: Question) -> Answer:
        answer, _ = await self._asked(question)
        return answer

    async def _asked(self, question: Question) -> tuple[Answer, Connection]:
        """The answer, and the connection that it came by."""
        if question.after:
            await trio.sleep(question.after)
        call = Call(question, self._way.seconds if self._way else 0.0, trio.current_time())
        while True:
            connection = await self._live()
            try:
                return call.answered(await connection.ask(call.question)), connection
            except ConnectionLost as error:
                if not self._comes_again(connection):
                    raise
                call.lost(error, trio.current_time())
            except CallError as error:
                if not call.refused(error):
                    raise
                await self._outlive(connection, error)
                call.later(trio.current_time())

    async def _outlive(self, connection: Connection, stopping: CallError) -> None:
        """Wait until isod, which is stopping, has ended the connection."""
        with trio.move_on_after(self._way.seconds if self._way else 0.0):
            await connection.until_its_end()
            return
        raise stopping

    def _comes_again(self, connection: Connection) -> bool:
        return self._way is not None and connection.broke is not None

    async def _live(self) -> Connection:
        """The connection; a new one if it was lost. One task makes it, and the others wait."""
        asked = trio.current_time()
        while self._comes_again(self._connection):
            async with self._connecting:
                way, broke = self._way, self._connection.broke
                if way is not None and broke is not None:
                    await self._connect_again(way, broke, asked)
        return self._connection

    async def _connect_again(self, way: Way, broke: ConnectionLost, asked: float) -> None:
        self._tries.begin(trio.current_time(), asked)
        with trio.CancelScope() as self._attempt:
            if way.on_lost is not None:
                way.on_lost(broke)
            while True:
                await trio.sleep(self._tries.pause(trio.current_time(), broke))
                try:
                    self._connection = await self._greeted(way)
                except NotYet as error:
                    broke = error
                else:
                    self._tries.made(trio.current_time())
                    return

    async def _greeted(self, way: Way) -> Connection:
        """A new connection, on which hello was said."""
        connection = Connection(connect_now(way.path))
        try:
            with trio.fail_after(self._tries.left(trio.current_time())):
                self._greeting = await carry(exchange.hello(way.name), connection.ask)
        except trio.TooSlowError as error:
            connection.close()
            raise NotYet("isod does not answer") from error
        except ConnectionLost as error:
            connection.close()
            raise NotYet(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def _subscribed(self, dialogue: Exchange[Subscribed]) -> tuple[Subscribed, Connection]:
        """Subscribe, and on which connection that was."""
        found: list[Connection] = []

        async def ask(question: Question) -> Answer:
            answer, connection = await self._asked(question)
            found.append(connection)
            return answer

        return await carry(dialogue, ask), found[-1]

    async def _next_of(self, events: Events) -> Event:
        """The next event of a subscription, from whichever connection it is on."""
        while True:
            try:
                return await events.home.next_event(events.subscription)
            except ConnectionLost:
                if not self._comes_again(events.home):
                    raise
            subscribed, home = await self._subscribed(events._renewing())
            events.subscription, events.home = subscribed.subscription, home


class Events(EventStream):
    """Events of a trio client, in order. Iterating raises EventsLost where some were left out,
    and then ends; and ConnectionLost at the end of the connection. One that is lost and made again
    is not noticed, unless isod does not know any more what came meanwhile: that is EventsLost."""

    def __init__(
        self,
        client: Client,
        home: Connection,
        kinds: tuple[Family, ...],
        subscribed: Subscribed,
        since: int | None,
    ) -> None:
        super().__init__(kinds, subscribed, since)
        self._client = client
        self.home = home

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notice:
        if self.over:
            raise StopAsyncIteration
        return self._taken(await self._client._next_of(self))


class Lease(HeldLease):
    """A lease of a trio client."""

    def __init__(self, client: Client, grant: Grant, secret: str | None = None) -> None:
        super().__init__(grant, secret)
        self._client = client

    async def release(self) -> LeaseInfo:
        """End the lease and close its files."""
        return await self._client._run(self._releasing())

    async def open(self) -> LeasedFiles:
        """Close the files and get fresh ones; the lease stays."""
        return await self._client._run(self._reopening())


async def _connected(path: Path) -> socket.socket:
    sock = new_socket()
    try:
        # In a thread: a full backlog makes a non-blocking connect(2) fail with EAGAIN, and nothing
        # tells when to try again.
        await trio.to_thread.run_sync(sock.connect, str(path), abandon_on_cancel=True)
    except OSError as error:
        sock.close()
        raise cannot_connect(path, error) from error
    except trio.Cancelled:
        sock.close()
        raise
    return sock
