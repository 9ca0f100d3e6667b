"""One connection of the trio client: a socket and the conversation on it, until either ends."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import trio

from isod.model.request import PACKET_BYTES
from isod.wire import packet
from isod.wire.packet import PacketError

from .blocking_connection import CLOSED
from .conversation import Answer, Conversation
from .errors import ClientError, ConnectionLost, ProtocolError
from .event_queue import Event
from .exchange import Exchange, Question

T = TypeVar("T")


class Connection:
    """Owns the socket. Of the tasks that wait for something, one reads for all of them. ``broke``
    says that it ended without a word of isod's."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = trio.socket.from_stdlib_socket(sock)
        self.broke: ConnectionLost | None = None
        self._conversation = Conversation()
        self._ended: str | None = None
        self._sending = trio.Lock()
        self._somebody_reads = False
        self._news = trio.lowlevel.ParkingLot()

    async def ask(self, question: Question) -> Answer:
        """Make one call. Raises ClientError."""
        self._check()
        identity, written = self._conversation.ask(question.method, question.params)
        try:
            sent = await self._send(written)
            while (answer := self._conversation.answer(identity)) is None:
                await self._progress(unknown=sent)
        finally:
            self._conversation.abandon(identity)
        return answer

    async def next_event(self, subscription: str | None) -> Event:
        """Wait for the next event. What came before the end is still there after it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (event := self._conversation.next_event(subscription)) is None:
            await self._progress()
        return event

    def forget(self, subscription: str) -> None:
        """Nobody takes its events any more."""
        self._conversation.events.forget(subscription)

    async def until_its_end(self) -> None:
        """Take in what comes until the connection ends. Raises ClientError if isod said why."""
        with suppress(ConnectionLost):
            while True:
                await self._progress()

    def close(self) -> None:
        """Close the connection; whoever waits gets ConnectionLost. Events that came before stay."""
        self._end("it was closed here")
        self._conversation.end()

    def _end(self, why: str) -> None:
        self._ended = self._ended or why
        self.socket.close()
        self._news.unpark_all()

    def _check(self, *, unknown: bool = False) -> None:
        if self.broke is not None:
            raise ConnectionLost(str(self.broke), unknown=unknown)
        if self._ended is not None:
            said = f"the connection to isod has ended: {self._ended}"
            raise ConnectionLost(said, unknown=unknown)

    def _broken(self, said: str, *, unknown: bool) -> ConnectionLost:
        """How to say that it was lost, or that it had been closed here."""
        if self._ended is None:
            self.broke = ConnectionLost(said)
        else:
            said = f"the connection to isod has ended: {self._ended}"
        self._end(said)
        return ConnectionLost(said, unknown=unknown)

    async def _send(self, written: bytes) -> bool:
        """Whether it was sent: a daemon that has left may have said why, which is still to be
        received."""
        packet.check_sendable(written, ())
        try:
            # Two tasks cannot wait for one socket to become writable.
            async with self._sending:
                await self.socket.sendmsg([written], [], socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except (OSError, trio.ClosedResourceError) as error:
            said = f"the connection to isod broke: {error}"
            raise self._broken(said, unknown=False) from error
        return True

    async def _progress(self, *, unknown: bool = False) -> None:
        """Return after the next packet, whoever reads it. On an error the connection is closed."""
        self._check(unknown=unknown)
        if self._somebody_reads:
            await self._news.park()
            return
        self._somebody_reads = True
        try:
            await self._receive(unknown=unknown)
        except PacketError as error:
            self._end(str(error))
            raise ProtocolError(f"a packet could not be taken: {error}") from error
        except (OSError, trio.ClosedResourceError) as error:
            said = f"the connection to isod broke: {error}"
            raise self._broken(said, unknown=unknown) from error
        except ClientError as error:
            self._end(str(error))
            raise
        finally:
            self._somebody_reads = False
            self._news.unpark_all()

    async def _receive(self, *, unknown: bool) -> None:
        try:
            taken = await self._take()
        except ConnectionResetError:
            # As in packet.receive: what the daemon sent before it left is still there.
            taken = await self._take()
        received = packet.unpack(taken, self.socket.fileno())
        if received is None:
            raise self._broken(CLOSED, unknown=unknown)
        self._conversation.feed(received)

    async def _take(self) -> packet.Received:
        return await self.socket.recvmsg(PACKET_BYTES, packet.CONTROL_BYTES, packet.RECEIVE_FLAGS)


async def carry(dialogue: Exchange[T], ask: Callable[[Question], Awaitable[Answer]]) -> T:
    """Carry an exchange through."""
    try:
        question = next(dialogue)
        while True:
            try:
                answer = await ask(question)
            except ClientError as error:
                question = dialogue.throw(error)
            else:
                question = dialogue.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
