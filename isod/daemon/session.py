"""One connection: packets in, calls through the gate, packets out.

Packets that break the rules end the connection. Requests that only look are answered in place;
those that begin an operation are waited for beside the others, so answers come out of order. Events
go out in between, each subscription's from a task of its own: whoever does not read them loses the
subscription, and whoever does not read answers the connection.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress

import trio
from pydantic import BaseModel, ValidationError

from isod.core import view
from isod.core.accounts import Resource
from isod.model.method import METHODS, Method
from isod.model.policy import Limits
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.reply import AcquireResult
from isod.model.request import PACKET_BYTES
from isod.model.reset import LeaseReset
from isod.wire import jsonrpc
from isod.wire.jsonrpc import Code, Id, Invalid, Notification, Request
from isod.wire.packet import PacketError, unpack_plain

from .gate import Gate
from .grants import Begun
from .identify import Identity
from .outbox import LOOK_SECONDS, Outbox
from .outcome import Delivery
from .subscribers import Opened
from .subscription import Subscription


class Session:
    """A peer's connection. ``run`` ends with it; nothing of it stays behind."""

    def __init__(
        self,
        connection: trio.socket.SocketType,
        who: Identity,
        gate: Gate,
        limits: Callable[[], Limits],
        turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        """``turn`` is waited for before each packet, and each request of a batch."""
        self._turn = turn
        self._limits = limits
        self._connection = connection
        self._who = who
        self._gate = gate
        self._outbox = Outbox(connection, who.account)
        self._watched = False
        self._waiting: set[Id] = set()
        self._opened: list[Subscription] = []

    async def run(self) -> None:
        """Serve until the peer leaves or breaks the rules of the packet layer."""
        try:
            async with trio.open_nursery() as nursery:
                # Nothing can be said to a peer that speaks not in packets, does not read, or left.
                with suppress(OSError, trio.TooSlowError, PacketError):
                    try:
                        packet = await self._receive_first()
                        while packet is not None:
                            await self._turn()
                            await self._serve(packet, nursery)
                            packet = await self._receive()
                    except RefusedError as error:  # what is sent to it cannot wait for it
                        self._disconnect(error.refusal, nursery.cancel_scope)
                nursery.cancel_scope.cancel()
        finally:
            self._gate.subscribers.leave(self._who)

    async def linger(self) -> None:
        """After ``run``: keep what is charged for what the peer has not read, until it has."""
        await self._outbox.linger()

    async def _receive_first(self) -> bytes | None:
        """Whoever connects and says nothing holds a place that others want."""
        seconds = self._limits().hello
        with trio.move_on_after(seconds):
            return await self._receive()
        text = f"nothing was asked in the first {seconds:g} seconds"
        hint = "connect when there is something to ask, and say hello"
        self._outbox.say_last(jsonrpc.refusal(None, Refusal(Reason.quota, text, {}, hint)))
        return None

    async def _receive(self) -> bytes | None:
        """One packet without room for fds: what a client sends along, the kernel drops."""
        try:
            received = await self._connection.recvmsg(PACKET_BYTES)
        except ConnectionResetError:
            # It left with packets of ours unread: said once, ahead of what it had sent before.
            received = await self._connection.recvmsg(PACKET_BYTES)
        return unpack_plain(received, self._connection.fileno())

    def _disconnect(self, refusal: Refusal, session: trio.CancelScope) -> None:
        """End the connection, and say why where that can still be read."""
        self._gate.audit.disconnected(self._who, refusal)
        self._outbox.say_last(jsonrpc.refusal(None, refusal))
        session.cancel()

    async def _watch_reading(self, session: trio.CancelScope) -> None:
        """Whoever leaves fds unread costs others theirs."""
        while self._outbox.has_unread_fds:
            refusal = self._outbox.too_slow(self._limits().read)
            if refusal is not None:
                self._disconnect(refusal, session)
                return
            await trio.sleep(LOOK_SECONDS)
        self._watched = False

    # --- requests -------------------------------------------------------------------------------

    async def _serve(self, packet: bytes, nursery: trio.Nursery) -> None:
        incoming = jsonrpc.read(packet)
        with ExitStack() as costs:
            try:
                costs.enter_context(self._who.account.charged(Resource.bytes, len(packet)))
            except RefusedError as error:
                answer = self._refuse(incoming, error.refusal)
            else:
                answer = await self._answer_packet(incoming, costs, nursery)
            if answer is not None:
                await self._outbox.send(answer)
        while self._opened:  # the answer comes before the first event
            nursery.start_soon(self._tell, self._opened.pop(0), nursery.cancel_scope)

    async def _answer_packet(
        self, incoming: jsonrpc.Incoming, costs: ExitStack, nursery: trio.Nursery
    ) -> bytes | None:
        if incoming.batch:
            return await self._answer_batch(incoming.entries)
        answer = None
        for entry in incoming.entries:
            await self._look(entry)
            if isinstance(entry, Request) and self._comes_later(entry):
                answer = self._begin(entry, costs, nursery)
            else:
                answer = self._answer(entry)
            if answer is not None and not isinstance(entry, Notification):
                answer = jsonrpc.fit(entry.id, answer)
        return answer

    @staticmethod
    def _refuse(incoming: jsonrpc.Incoming, refusal: Refusal) -> bytes | None:
        """Refuse all that a packet asks for."""
        asked = [entry for entry in incoming.entries if isinstance(entry, Request)]
        answers = [(entry.id, jsonrpc.refusal(entry.id, refusal)) for entry in asked]
        if incoming.batch:
            return jsonrpc.join(answers)
        return answers[0][1] if answers else None

    async def _answer_batch(self, entries: Sequence[jsonrpc.Entry]) -> bytes | None:
        answers: list[tuple[Id, bytes]] = []
        for number, entry in enumerate(entries):
            if number:  # the packet has had its turn
                await trio.lowlevel.checkpoint()
                await self._turn()
            await self._look(entry)
            identity = None if isinstance(entry, Notification) else entry.id
            if isinstance(entry, Request) and self._comes_later(entry):
                detail = "its reply comes later: ask outside of a batch"
                answers.append((identity, jsonrpc.error(identity, Code.invalid_request, detail)))
            elif (answer := self._answer(entry)) is not None:
                answers.append((identity, answer))
        return jsonrpc.join(answers)

    async def _look(self, entry: jsonrpc.Entry) -> None:
        if isinstance(entry, Request):
            await self._gate.look(entry.method)

    @staticmethod
    def _comes_later(entry: Request) -> bool:
        method = METHODS.get(entry.method)
        return method is not None and (method.carries or method.slow)

    def _answer(self, entry: jsonrpc.Entry) -> bytes | None:
        """The answer to what is answered in place."""
        match entry:
            case Invalid():
                return entry.response
            case Notification():
                # Nothing comes of one: what looks has no reply, and what changes something must
                # not be asked without waiting for the answer.
                return None
            case Request():
                answer = self._call(entry)
                return answer if isinstance(answer, bytes) else None

    def _call(self, entry: Request) -> bytes | Begun:
        """Send a request through the gate."""
        method: Method | None = METHODS.get(entry.method)
        if method is None:
            return jsonrpc.error(entry.id, Code.method_not_found)
        try:
            answer = self._gate.call(self._who, method, dict(entry.params))
        except ValidationError as error:
            return jsonrpc.error(entry.id, Code.invalid_params, _first(error))
        except RefusedError as error:
            return jsonrpc.refusal(entry.id, error.refusal)
        if isinstance(answer, Begun):
            return answer
        if isinstance(answer, Opened):
            self._opened.append(answer.subscription)
            return jsonrpc.result(entry.id, answer.result)
        return jsonrpc.result(entry.id, answer)

    def _begin(self, entry: Request, packet: ExitStack, nursery: trio.Nursery) -> bytes | None:
        """Begin a request whose answer comes later, unless it is one too many. What its packet
        costs is given back then, too."""
        if entry.id in self._waiting:
            return jsonrpc.error(entry.id, Code.invalid_request, "this id is under way")
        with ExitStack() as costs:
            try:
                costs.enter_context(self._who.account.charged(Resource.requests))
                if METHODS[entry.method].carries:
                    self._outbox.check_reading()
            except RefusedError as error:
                self._gate.audit.refused(self._who, METHODS[entry.method], error.refusal)
                return jsonrpc.refusal(entry.id, error.refusal)
            answer = self._call(entry)
            if isinstance(answer, bytes):
                return answer
            self._waiting.add(entry.id)
            costs.enter_context(packet.pop_all())
            nursery.start_soon(self._finish, entry, answer, costs.pop_all(), nursery)
        return None

    async def _outcome(self, begun: Begun) -> Delivery | Refusal | BaseModel:
        """What came of an operation. The time to wait is for the queue alone: what is under way
        comes to its end."""
        with trio.move_on_after(math.inf if begun.wait is None else begun.wait):
            return await begun.outcome.take()
        if self._gate.withdraw(begun):
            assert begun.busy is not None
            return begun.busy
        return await begun.outcome.take()

    async def _finish(
        self, entry: Request, begun: Begun, costs: ExitStack, nursery: trio.Nursery
    ) -> None:
        with self._gate.unanswered, costs:
            await self._finish_begun(entry, begun, nursery)

    async def _finish_begun(self, entry: Request, begun: Begun, nursery: trio.Nursery) -> None:
        """Wait for an operation and send what came of it. Whatever happens here, the copies of
        the fds are closed, the hold among them: an undelivered lease ends by itself. A peer that
        cannot be told ends the session."""
        try:
            taken = await self._outcome(begun)
        except BaseException:
            self._gate.withdraw(begun)
            begun.outcome.drop()
            raise
        finally:
            self._waiting.discard(entry.id)
        try:
            if isinstance(taken, Refusal):
                self._gate.audit.refused(self._who, METHODS[entry.method], taken)
                answer = jsonrpc.refusal(entry.id, taken)
                await self._outbox.send(jsonrpc.fit(entry.id, answer))
            elif isinstance(taken, Delivery):
                await self._deliver(entry, taken, nursery)
            else:
                answer = jsonrpc.result(entry.id, taken)
                await self._outbox.send(jsonrpc.fit(entry.id, answer))
        except RefusedError as error:
            self._disconnect(error.refusal, nursery.cancel_scope)
        except (OSError, trio.TooSlowError):
            nursery.cancel_scope.cancel()
        finally:
            if isinstance(taken, Delivery):
                taken.close()

    async def _deliver(self, entry: Request, taken: Delivery, nursery: trio.Nursery) -> None:
        granted = _granted(taken, self._gate.resets.of_lease(taken.lease))
        result = jsonrpc.result(entry.id, granted)
        if len(result) > PACKET_BYTES:  # one can live without it, and ask for it later
            result = jsonrpc.result(entry.id, granted.model_copy(update={"reset": None}))
        if len(result) > PACKET_BYTES:  # the fds stay here, and so the lease ends
            await self._outbox.send(jsonrpc.fit(entry.id, result))
            return
        try:
            await self._outbox.send(result, taken.descriptors, patience=self._limits().read)
        except RefusedError as error:
            await self._outbox.send(jsonrpc.refusal(entry.id, error.refusal))
            return
        taken.sent = True
        if not self._watched:
            self._watched = True
            nursery.start_soon(self._watch_reading, nursery.cancel_scope)

    async def _tell(self, subscription: Subscription, session: trio.CancelScope) -> None:
        """Send a subscriber its events, however slowly it takes them: meanwhile its queue fills,
        and nobody waits but answers on this same connection."""
        try:
            while (packet := await subscription.next()) is not None:
                await self._outbox.send_event(packet)
        except OSError:
            session.cancel()
        finally:
            self._gate.subscribers.drop(subscription)


def _granted(delivery: Delivery, reset: LeaseReset) -> AcquireResult:
    return AcquireResult(
        lease=view.lease_info(delivery.lease, delivery.lease.secret),
        reset=reset,
        warnings=delivery.lease.warnings,
        fds=view.file_roles(delivery.files),
    )


def _first(error: ValidationError) -> str:
    """The first fault, in one line."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
