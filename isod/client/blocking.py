"""The client for programs without an event loop.

    with Client.connect() as isod, isod.acquire(["0000:01:00.0"], hand_over="iommufd") as lease:
        use(lease.files.iommufd, lease.files.device("0000:01:00.0"))

A client belongs to one thread at a time. When isod is restarted it connects again by itself, in
whichever call it is that notices; nothing runs in the background.
"""

from __future__ import annotations

import os
import socket
import time
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

from . import exchange, reconnection
from .blocking_connection import Connection, carry
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

T = TypeVar("T")


class Client:
    """A connection to isod, made again when it is lost without a word (see ``connect``). Its
    methods raise Refused, ConnectionLost or ProtocolError, and TimeoutError after ``timeout``
    seconds without a packet: the call may then still take effect; what it hands over is closed
    with the next packet that is read, or with the connection."""

    def __init__(self, sock: socket.socket, way: Way | None = None) -> None:
        """Take over a connected socket. ``connect`` is what you want."""
        self._connection = Connection(sock)
        self._way = way
        self._tries = Reconnection(way.seconds if way else 0.0)
        self._timeout = sock.gettimeout()
        self._greeting: HelloResult | None = None
        self._streams: list[Events] = []

    @classmethod
    def connect(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        name: str = exchange.NAME,
        timeout: float | None = None,
        reconnect: float = reconnection.SECONDS,
        on_lost: OnLost | None = None,
    ) -> Self:
        """Connect and say hello. The path defaults to ISOD_SOCKET, then /run/isod/isod.sock.

        A connection that isod ends without a reason, as by its restart, is made again: for so many
        seconds (``reconnect``; 0: not at all) isod is waited for. ``on_lost`` is told before. Calls
        are asked again where that is safe (an acquire needs a ``key``), waits go on for what is
        left of them, and so do events; other calls raise ConnectionLost with ``unknown`` set.
        """
        place = socket_path(path)
        sock = new_socket()
        client = cls(sock, Way(place, name, reconnect, on_lost) if reconnect > 0 else None)
        client._timeout = timeout
        try:
            # Before the timeout: with one, connect(2) does not wait for a full backlog at all.
            sock.connect(str(place))
            sock.settimeout(timeout)
            client._greeting = carry(exchange.hello(name), client._connection.ask)
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
        asked = tuple(kinds)
        subscribed, home = self._subscribed(exchange.subscribe(asked, since))
        events = Events(self, home, asked, subscribed, since)
        self._streams = [*(one for one in self._streams if not one.over), events]
        return events

    def next_event(self, subscription: str | None = None) -> Event:
        """Wait for the next event, raw, of a subscription of this connection, or of any. Those
        that were made by ``call`` end with the connection."""
        return self._connection.next_event(subscription)

    def fileno(self) -> int:
        """The socket: readable when there is something to be received. It is another one, or -1,
        after a connection was lost: ask each time."""
        return self._connection.socket.fileno()

    def close(self) -> None:
        """Close the connection. Leases stay."""
        self._way = None
        self._connection.close()

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
        """Carry an exchange through, over as many connections as it takes."""
        return carry(dialogue, self._ask)

    def _ask(self, question: Question) -> Answer:
        time.sleep(question.after)
        call = Call(question, self._way.seconds if self._way else 0.0, time.monotonic())
        while True:
            connection = self._live()
            try:
                return call.answered(connection.ask(call.question))
            except ConnectionLost as error:
                if not self._comes_again(connection):
                    raise
                call.lost(error, time.monotonic())
            except CallError as error:
                if not call.refused(error):
                    raise
                self._outlive(connection, error)
                call.later(time.monotonic())

    def _outlive(self, connection: Connection, stopping: CallError) -> None:
        """Wait until isod, which is stopping, has ended the connection."""
        try:
            connection.until_its_end(self._way.seconds if self._way else 0.0)
        except TimeoutError:
            raise stopping from None

    def _comes_again(self, connection: Connection) -> bool:
        return self._way is not None and connection.broke is not None

    def _live(self) -> Connection:
        """The connection; a new one if it was lost."""
        way, broke = self._way, self._connection.broke
        if way is not None and broke is not None:
            self._connect_again(way, broke)
        return self._connection

    def _connect_again(self, way: Way, broke: ConnectionLost) -> None:
        now = time.monotonic()
        self._tries.begin(now, asked=now)
        if way.on_lost is not None:
            way.on_lost(broke)
        while self._way is not None:
            time.sleep(self._tries.pause(time.monotonic(), broke))
            try:
                self._connection = self._connected(way)
            except NotYet as error:
                broke = error
            else:
                self._tries.made(time.monotonic())
                return

    def _connected(self, way: Way) -> Connection:
        """A new connection on which hello was said and events are subscribed to."""
        connection = Connection(connect_now(way.path))
        try:
            connection.socket.settimeout(self._tries.left(time.monotonic()))
            self._greeting = carry(exchange.hello(way.name), connection.ask)
            self._renew_all(connection)
            connection.socket.settimeout(self._timeout)
        except TimeoutError as error:
            connection.close()
            raise NotYet("isod does not answer") from error
        except ConnectionLost as error:
            connection.close()
            raise NotYet(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _renew_all(self, connection: Connection) -> None:
        """Subscribe again at once, so that events make ``fileno`` readable. A subscription that is
        refused is left to whoever takes its next event."""
        renewed: list[tuple[Events, Subscribed]] = []
        for events in self._streams:
            if not events.over and not events.has_some:
                with suppress(CallError):
                    renewed.append((events, carry(events._renewing(), connection.ask)))
        for events, subscribed in renewed:
            events._move(subscribed, connection)

    def _subscribed(self, dialogue: Exchange[Subscribed]) -> tuple[Subscribed, Connection]:
        """Subscribe, on which connection ever there is in the end."""
        return self._run(dialogue), self._connection

    def _next_of(self, events: Events) -> Event:
        """The next event of a subscription, from whichever connection it is on."""
        while True:
            home = events.home
            try:
                return home.next_event(events.subscription)
            except ConnectionLost:
                if not self._comes_again(home):
                    raise
            self._live()
            if events.home is home:
                events._move(*self._subscribed(events._renewing()))


class Events(EventStream):
    """Events of a blocking client, in order. Iterating waits for the next one; it raises
    EventsLost where some were left out, and then ends; TimeoutError as calls do, and may go on
    after it; and ConnectionLost at the end of the connection. One that is lost and made again is
    not noticed, unless isod does not know any more what came meanwhile: that is EventsLost."""

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

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Notice:
        if self.over:
            raise StopIteration
        return self._taken(self._client._next_of(self))

    @property
    def has_some(self) -> bool:
        """Whether there are events that were received and not taken."""
        return self.home.has_event(self.subscription)

    def _move(self, subscribed: Subscribed, home: Connection) -> None:
        self.subscription, self.home = subscribed.subscription, home

    def close(self) -> None:
        """End the subscription. Closing twice is harmless, and so is a connection that is lost."""
        over, self.over = self.over, True
        self.home.forget(self.subscription)
        if self in self._client._streams:
            self._client._streams.remove(self)
        if not over:
            with suppress(ClientError, TimeoutError):
                carry(exchange.unsubscribe(self.subscription), self.home.ask)

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
