"""A client's conversation with the daemon, without I/O: ids go out, replies come back in any
order, with events in between.

Fds belong to the conversation from ``feed`` until ``answer`` gives them away. Replies that nobody
waits for any more have theirs closed, which ends a lease that was granted to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from isod.wire import response
from isod.wire.jsonrpc import Notification
from isod.wire.packet import Packet, close_all
from isod.wire.response import Failure, Response, ResponseError, Result

from .errors import CallError, ProtocolError, error_of
from .event_queue import Event, EventQueue


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call brought. Whoever holds it owns the fds. ``repeated``: the call had been made
    before, on a connection that was lost."""

    value: object
    fds: tuple[int, ...] = ()
    repeated: bool = False


class Conversation:
    """Feed it packets, ask it for answers and events."""

    def __init__(self) -> None:
        self._next_id = 1
        self._waiting: set[int] = set()
        self._abandoned: set[int] = set()
        self._answers: dict[int, Answer | CallError] = {}
        self.events = EventQueue()
        self._over = False

    def ask(self, method: str, params: BaseModel | Mapping[str, object]) -> tuple[int, bytes]:
        """The id of a new call, and the packet to send."""
        identity = self._next_id
        written = response.request(identity, method, params)
        self._next_id += 1
        self._waiting.add(identity)
        return identity, written

    def abandon(self, identity: int) -> None:
        """Nobody waits for this reply any more. Harmless for a call that is over."""
        if identity in self._waiting:
            self._waiting.remove(identity)
            self._abandoned.add(identity)
        _close(self._answers.pop(identity, None))

    def feed(self, packet: Packet) -> None:
        """Take a packet that was received, fds and all.

        Raises ProtocolError, or CallError for an error that speaks of the connection as a whole;
        either way the fds are closed and the connection is of no use any more.
        """
        if self._over:
            packet.close()
            return
        try:
            responses = response.read(packet.data)
            _check_files(responses, packet.fds)
            for one in responses:
                self._sort_in(one, packet.fds)
        except ResponseError as problem:
            packet.close()
            raise ProtocolError(f"the daemon sent no JSON-RPC: {problem}") from None
        except (ProtocolError, CallError):
            packet.close()
            raise

    def answer(self, identity: int) -> Answer | None:
        """The answer to a call, once; None while it is under way. Raises CallError."""
        found = self._answers.pop(identity, None)
        if isinstance(found, CallError):
            raise found
        return found

    def next_event(self, subscription: str | None = None) -> Event | None:
        """The oldest event of a subscription (None: of any) that nobody has taken. One of kind
        ``gap`` says that some were left out, and is the last one."""
        return self.events.take(subscription)

    def end(self) -> None:
        """The connection is over: close what nobody took, and what may still be fed."""
        self._over = True
        for found in self._answers.values():
            _close(found)
        self._answers.clear()
        self._waiting.clear()

    def _sort_in(self, one: Response, fds: tuple[int, ...]) -> None:
        match one:
            case Notification(method="event"):
                self.events.put(one.params)
            case Notification():
                # A kind of message that a later version may have.
                return
            case Failure(id=None):
                raise error_of(one)
            case Failure():
                self._settle(one.id, error_of(one))
            case Result():
                self._settle(one.id, Answer(one.value, fds))

    def _settle(self, identity: object, found: Answer | CallError) -> None:
        if identity in self._abandoned and isinstance(identity, int):
            self._abandoned.remove(identity)
            _close(found)
        elif identity in self._waiting and isinstance(identity, int):
            self._waiting.remove(identity)
            self._answers[identity] = found
        else:
            raise ProtocolError(f"the daemon answered a call that was not made: id {identity!r}")


def _check_files(responses: tuple[Response, ...], fds: tuple[int, ...]) -> None:
    """What the result declares is what came: no fd more, none less, and none in a batch."""
    declared = 0
    for one in responses:
        if isinstance(one, Result) and isinstance(one.value, dict):
            roles = one.value.get("fds", ())
            declared += len(roles) if isinstance(roles, list) else 0
    if declared != len(fds) or (fds and len(responses) != 1):
        raise ProtocolError(f"{declared} fds declared, {len(fds)} received")


def _close(found: Answer | CallError | None) -> None:
    if isinstance(found, Answer):
        close_all(found.fds)
