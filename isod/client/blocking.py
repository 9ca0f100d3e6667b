"""The client for programs without an event loop.

    with Client.connect() as isod, isod.acquire(["0000:01:00.0"], hand_over="iommufd") as lease:
        use(lease.files.iommufd, lease.files.device("0000:01:00.0"))

A client belongs to one thread at a time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self, TypeVar

from isod.model.address import Address
from isod.model.isolation import IsolationInfo
from isod.model.notice import Notice, Subscribed
from isod.model.reply import DeviceInfo, GroupInfo, HelloResult, HostInfo, LeaseInfo
from isod.model.request import FAMILIES, Family
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

T = TypeVar("T")


class Client:
    """A connection to isod. Its methods raise Refused, ConnectionLost or ProtocolError, and
    TimeoutError after ``timeout`` seconds without a packet: the call may then still take effect;
    what it hands over is closed with the next packet that is read, or with the connection."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket. ``connect`` is what you want."""
        self._socket = sock
        self._conversation = Conversation()
        self._greeting: HelloResult | None = None

    @classmethod
    def connect(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        name: str = exchange.NAME,
        timeout: float | None = None,
    ) -> Self:
        """Connect and say hello. The path defaults to ISOD_SOCKET, then /run/isod/isod.sock."""
        place = socket_path(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client = cls(sock)
        try:
            # Before the timeout: with one, connect(2) does not wait for a full backlog at all.
            sock.connect(str(place))
            sock.settimeout(timeout)
            client.hello(name)
        except (ClientError, TimeoutError):
            client.close()
            raise
        except OSError as error:
            client.close()
            raise cannot_connect(place, error) from error
        return client

    @property
    def greeting(self) -> HelloResult:
        """What the daemon said to hello."""
        if self._greeting is None:
            raise ClientError("hello was not said yet")
        return self._greeting

    def hello(self, name: str = exchange.NAME) -> HelloResult:
        """Agree on the protocol; ``connect`` has done so."""
        self._greeting = self._run(exchange.hello(name))
        return self._greeting

    def info(self) -> HostInfo:
        """What this host and kernel offer."""
        return self._run(exchange.info())

    def devices(self) -> tuple[DeviceInfo, ...]:
        """All devices, page by page."""
        return self._run(exchange.devices())

    def groups(self) -> tuple[GroupInfo, ...]:
        """All IOMMU groups, page by page."""
        return self._run(exchange.groups())

    def isolation(self, address: Address | str) -> IsolationInfo:
        """Why a device's group is as it is, and what its isolation is worth."""
        return self._run(exchange.isolation(address))

    def reset_set(self, address: Address | str) -> ResetSetInfo:
        """What a hot reset of a device hits, and what is in its way."""
        return self._run(exchange.reset_set(address))

    def leases(self) -> tuple[LeaseInfo, ...]:
        """One's own leases."""
        return self._run(exchange.leases())

    def lease(self, identity: str) -> LeaseInfo:
        """One of one's own leases."""
        return self._run(exchange.lease(identity))

    def acquire(
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
        return Lease(self, self._run(asked))

    def open(self, identity: str, secret: str) -> Lease:
        """Get fresh fds of one's own lease, once the former ones are closed."""
        grant = self._run(exchange.reopen(identity, secret))
        return Lease(self, grant, secret)

    def release(self, identity: str, secret: str) -> LeaseInfo:
        """End a lease. It is draining until its files are closed, which is up to their owners."""
        return self._run(exchange.release(identity, secret))

    def call(self, method: str, params: Mapping[str, object] | None = None) -> object:
        """Call any method. Fds that come with the reply are closed."""
        return self._run(exchange.call(method, params or {}))

    def events(self, kinds: Iterable[Family] = FAMILIES, since: int | None = None) -> Events:
        """Subscribe to events of these families; with ``since`` begin after the event of that
        ``seq``. Raises ValueError for no family.

            with isod.events(["lease"]) as events:
                for event in events:
                    print(event.kind, event.lease)
        """
        return Events(self, self._run(subscribing(kinds, since)), since)

    def next_event(self, subscription: str | None = None) -> Event:
        """Wait for the next event, raw, of a subscription of this connection, or of any."""
        while (event := self._conversation.next_event(subscription)) is None:
            self._receive()
        return event

    def fileno(self) -> int:
        """The socket: readable when there is something to be received."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection. Leases stay."""
        self._conversation.end()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, dialogue: Exchange[T]) -> T:
        """Carry an exchange through."""
        try:
            question = next(dialogue)
            while True:
                try:
                    answer = self._ask(question)
                except ClientError as error:
                    question = dialogue.throw(error)
                else:
                    question = dialogue.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _ask(self, question: Question) -> Answer:
        identity, written = self._conversation.ask(question.method, question.params)
        try:
            # A daemon that has left may have said why: that is still to be received.
            with suppress(BrokenPipeError, ConnectionResetError):
                packet.send(self._socket, written)
            while (answer := self._conversation.answer(identity)) is None:
                self._receive()
        except TimeoutError:
            raise
        except OSError as error:
            self.close()
            raise ConnectionLost(f"the connection to isod broke: {error}") from error
        finally:
            self._conversation.abandon(identity)
        return answer

    def _receive(self) -> None:
        """Take the next packet in. On any error but a timeout the connection is closed."""
        try:
            received = packet.receive(self._socket)
            if received is None:
                raise ConnectionLost("isod closed the connection")
            self._conversation.feed(received)
        except TimeoutError:
            raise
        except PacketError as error:
            self.close()
            raise ProtocolError(f"a packet could not be taken: {error}") from error
        except OSError as error:
            self.close()
            raise ConnectionLost(f"the connection to isod broke: {error}") from error
        except ClientError:
            self.close()
            raise


class Events(EventStream):
    """Events of a blocking client, in order. Iterating waits for the next one; it raises
    EventsLost where some were left out, and then ends; TimeoutError as calls do, and may go on
    after it; and ConnectionLost at the end of the connection."""

    def __init__(self, client: Client, subscribed: Subscribed, since: int | None) -> None:
        super().__init__(subscribed, since)
        self._client = client

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Notice:
        if self.over:
            raise StopIteration
        return self._taken(self._client.next_event(self.subscription))

    def close(self) -> None:
        """End the subscription. Closing twice is harmless, and so is a connection that is lost."""
        over, self.over = self.over, True
        self._client._conversation.events.forget(self.subscription)
        if not over:
            with suppress(ClientError, TimeoutError):
                self._client._run(exchange.unsubscribe(self.subscription))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Lease(HeldLease):
    """A lease of a blocking client."""

    def __init__(self, client: Client, grant: Grant, secret: str | None = None) -> None:
        super().__init__(grant, secret)
        self._client = client

    def release(self) -> LeaseInfo:
        """End the lease and close its files."""
        return self._client._run(self._releasing())

    def open(self) -> LeasedFiles:
        """Close the files and get fresh ones; the lease stays."""
        return self._client._run(self._reopening())
