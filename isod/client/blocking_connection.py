"""One connection of the blocking client: a socket and the conversation on it, until either ends."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from isod.wire import packet
from isod.wire.packet import PacketError

from .conversation import Answer, Conversation
from .errors import ClientError, ConnectionLost, ProtocolError
from .event_queue import Event
from .exchange import Exchange, Question

CLOSED = "isod closed the connection"

T = TypeVar("T")


class Connection:
    """Owns the socket. ``broke`` says that it ended without a word of isod's."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.broke: ConnectionLost | None = None
        self._conversation = Conversation()
        self._ended: str | None = None

    def ask(self, question: Question) -> Answer:
        """Make one call. Raises ClientError, and TimeoutError as the socket does."""
        self._check()
        identity, written = self._conversation.ask(question.method, question.params)
        sent = False
        try:
            # A daemon that has left may have said why: that is still to be received.
            with suppress(BrokenPipeError, ConnectionResetError):
                packet.send(self.socket, written)
                sent = True
            while (answer := self._conversation.answer(identity)) is None:
                self._receive(unknown=sent)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._lost(error, unknown=sent) from error
        finally:
            self._conversation.abandon(identity)
        return answer

    def next_event(self, subscription: str | None) -> Event:
        """Wait for the next event. What came before the end is still there after it."""
        while (event := self._conversation.next_event(subscription)) is None:
            self._check()
            self._receive()
        return event

    def has_event(self, subscription: str) -> bool:
        return self._conversation.events.has(subscription)

    def forget(self, subscription: str) -> None:
        """Nobody takes its events any more."""
        self._conversation.events.forget(subscription)

    def until_its_end(self, seconds: float) -> None:
        """Take in what comes until the connection ends, for so long. Raises TimeoutError, and
        ClientError if isod said why it ended it."""
        former, until = self.socket.gettimeout(), monotonic() + seconds
        try:
            while self._ended is None:
                self.socket.settimeout(max(until - monotonic(), 0.001))
                with suppress(ConnectionLost):
                    self._receive()
        except TimeoutError:
            self.socket.settimeout(former)
            raise

    def close(self) -> None:
        """Close the connection. Events that came before stay."""
        self._end("it was closed here")
        self._conversation.end()

    def _end(self, why: str) -> None:
        self._ended = self._ended or why
        self.socket.close()

    def _check(self) -> None:
        if self._ended is not None:
            raise ConnectionLost(f"the connection to isod has ended: {self._ended}")

    def _lost(self, error: OSError, *, unknown: bool) -> ConnectionLost:
        said = f"the connection to isod broke: {error}"
        return self._broken(ConnectionLost(said, unknown=unknown))

    def _broken(self, lost: ConnectionLost) -> ConnectionLost:
        if self._ended is None:
            self.broke = lost
        self._end(str(lost))
        return lost

    def _receive(self, *, unknown: bool = False) -> None:
        """Take the next packet in. On any error but a timeout the connection is closed."""
        try:
            received = packet.receive(self.socket)
            if received is None:
                raise self._broken(ConnectionLost(CLOSED, unknown=unknown))
            self._conversation.feed(received)
        except TimeoutError:
            raise
        except PacketError as error:
            self._end(str(error))
            raise ProtocolError(f"a packet could not be taken: {error}") from error
        except OSError as error:
            raise self._lost(error, unknown=unknown) from error
        except ClientError as error:
            self._end(str(error))
            raise


def carry(dialogue: Exchange[T], ask: Callable[[Question], Answer]) -> T:
    """Carry an exchange through."""
    try:
        question = next(dialogue)
        while True:
            try:
                answer = ask(question)
            except ClientError as error:
                question = dialogue.throw(error)
            else:
                question = dialogue.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
