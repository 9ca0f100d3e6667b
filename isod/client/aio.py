"""The client for trio.

    async with Client.connect() as isod:
        with await isod.acquire(["0000:01:00.0"], hand_over="iommufd") as lease:
            use(lease.files.iommufd, lease.files.device("0000:01:00.0"))

Any number of tasks may call at the same time. There is no task in the background: of those who
wait, one reads the socket for all of them.
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
from isod.model.request import FAMILIES, PACKET_BYTES, Family
from isod.model.reset import ResetSetInfo
from isod.model.step import HandOver
from isod.model.terms import Anchor
from isod.wire import packet
from isod.wire.packet import PacketError

from . import exchange
from .conversation import Answer, Conversation
from .errors import ClientError, ConnectionLost, ProtocolError
from .event_queue import Event
from .event_stream import EventStream, subscribing
from .exchange import Exchange, Grant, Question, Wanted
from .files import LeasedFiles
from .lease import HeldLease
from .location import cannot_connect, socket_path

UNSUBSCRIBE_SECONDS = 1.0

T = TypeVar("T")


class Client:
    """A connection to isod. Its methods raise Refused, ConnectionLost or ProtocolError. A call
    that is cancelled may still take effect; what it hands over is closed with the next packet that
    is read, or with the connection."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket. ``connect`` is what you want."""
        sock.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._conversation = Conversation()
        self._greeting: HelloResult | None = None
        self._sending = trio.Lock()
        self._somebody_reads = False
        self._news = trio.lowlevel.ParkingLot()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, path: str | os.PathLike[str] | None = None, *, name: str = exchange.NAME
    ) -> AsyncIterator[Self]:
        """Connect and say hello. The path defaults to ISOD_SOCKET, then /run/isod/isod.sock."""
        client = cls(await _connected(socket_path(path)))
        try:
            await client.hello(name)
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
        events = Events(self, await self._run(subscribing(kinds, since)), since)
        try:
            yield events
        finally:
            self._conversation.events.forget(events.subscription)
            if not events.over:
                # Best effort: whoever leaves for an error or a deadline is not kept for long.
                with trio.move_on_after(UNSUBSCRIBE_SECONDS, shield=True), suppress(ClientError):
                    await self._run(exchange.unsubscribe(events.subscription))

    async def next_event(self, subscription: str | None = None) -> Event:
        """Wait for the next event, raw, of a subscription of this connection, or of any."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (event := self._conversation.next_event(subscription)) is None:
            await self._progress()
        return event

    def close(self) -> None:
        """Close the connection; whoever waits gets ConnectionLost. Leases stay."""
        self._conversation.end()
        self._socket.close()
        self._news.unpark_all()

    async def _run(self, dialogue: Exchange[T]) -> T:
        """Carry an exchange through."""
        try:
            question = next(dialogue)
            while True:
                try:
                    answer = await self._ask(question)
                except ClientError as error:
                    question = dialogue.throw(error)
                else:
                    question = dialogue.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _ask(self, question: Question) -> Answer:
        identity, written = self._conversation.ask(question.method, question.params)
        try:
            await self._send(written)
            while (answer := self._conversation.answer(identity)) is None:
                await self._progress()
        finally:
            self._conversation.abandon(identity)
        return answer

    async def _send(self, written: bytes) -> None:
        packet.check_sendable(written, ())
        try:
            # Two tasks cannot wait for one socket to become writable.
            async with self._sending:
                # A daemon that has left may have said why: that is still to be received.
                with suppress(BrokenPipeError, ConnectionResetError):
                    await self._socket.sendmsg([written], [], socket.MSG_NOSIGNAL)
        except (OSError, trio.ClosedResourceError) as error:
            self.close()
            raise ConnectionLost(f"the connection to isod broke: {error}") from error

    async def _progress(self) -> None:
        """Return after the next packet, whoever reads it. On an error the connection is closed."""
        if self._somebody_reads:
            await self._news.park()
            return
        self._somebody_reads = True
        try:
            await self._receive()
        except PacketError as error:
            self.close()
            raise ProtocolError(f"a packet could not be taken: {error}") from error
        except (OSError, trio.ClosedResourceError) as error:
            self.close()
            raise ConnectionLost(f"the connection to isod broke: {error}") from error
        except ClientError:
            self.close()
            raise
        finally:
            self._somebody_reads = False
            self._news.unpark_all()

    async def _receive(self) -> None:
        try:
            taken = await self._take()
        except ConnectionResetError:
            # As in packet.receive: what the daemon sent before it left is still there.
            taken = await self._take()
        received = packet.unpack(taken, self._socket.fileno())
        if received is None:
            raise ConnectionLost("isod closed the connection")
        self._conversation.feed(received)

    async def _take(self) -> packet.Received:
        return await self._socket.recvmsg(PACKET_BYTES, packet.CONTROL_BYTES, packet.RECEIVE_FLAGS)


class Events(EventStream):
    """Events of a trio client, in order. Iterating raises EventsLost where some were left out,
    and then ends; and ConnectionLost at the end of the connection."""

    def __init__(self, client: Client, subscribed: Subscribed, since: int | None) -> None:
        super().__init__(subscribed, since)
        self._client = client

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notice:
        if self.over:
            raise StopAsyncIteration
        return self._taken(await self._client.next_event(self.subscription))


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
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
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
