"""A daemon that ends in the middle of calls and comes back, with its leases and its events."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from isod.model import notice, reply, request
from isod.model.reason import Reason, RefusedError
from isod.wire import jsonrpc, packet
from isod.wire.jsonrpc import Request

from .fake_daemon import FakeDaemon, in_a_thread

FIRST = 40


class Ended(Exception):  # noqa: N818
    """The daemon is killed here."""


class ComesBack(FakeDaemon):
    """It ends at the calls that ``ends`` lists in order: "before METHOD" with nothing done, "after
    METHOD" with all done and the answer lost, "then METHOD" with the answer sent; "refuse METHOD"
    is a daemon that is stopping, which refuses it and then ends. ``forever`` says that it does not
    come back; ``greeting`` is what it says to hello after the first time. ``events`` (seq and kind)
    are kept over all its lives: those after ``since`` are sent upon subscribing.

    ``in_use``: a lease's files are open somewhere; ``drains``: one whose hold is gone ends only for
    who waits; ``forgets``: one that was released is over at once.
    """

    def __init__(self, *ends: str) -> None:
        super().__init__()
        self.ends = list(ends)
        self.forever = False
        self.greeting: Callable[[], bytes | None] = lambda: None
        self.events: list[tuple[int, str]] = []
        self.in_use = False
        self.drains = False
        self.forgets = False
        self.lives = 0
        self._end_read, self._end_write = os.pipe()

    def asked_for(self, method: str) -> list[Request]:
        return [one for one in self.asked if one.method == method]

    def answer(self, sock: socket.socket, asked: Request) -> None:
        when, _, method = (self.ends or [""])[0].partition(" ")
        if method != asked.method:
            when = ""
        if when:
            del self.ends[0]
        said = self.greeting() if asked.method == "hello" and self.lives > 1 else None
        if said is not None:
            packet.send(sock, said)
        elif when == "refuse":
            stopping = RefusedError(Reason.stopping, "isod is stopping")
            packet.send(sock, jsonrpc.refusal(asked.id, stopping.refusal))
        elif when == "after":
            fds: list[int] = []
            self.result(asked, fds)
            packet.close_all(fds)
        elif when != "before":
            super().answer(sock, asked)
            if asked.method == "events.subscribe":
                self.tell_missed(sock, asked)
        if when or said is not None:
            raise Ended

    def tell_missed(self, sock: socket.socket, asked: Request) -> None:
        since = request.Subscribe.model_validate(asked.params).since or FIRST
        for seq, kind in tuple(self.events):
            if seq > since:
                told = {"subscription": f"S{self.lives}", "seq": seq, "kind": kind, "at": 5.0}
                packet.send(sock, jsonrpc.notification("event", {**told, "lost": kind == "gap"}))

    def result(self, asked: Request, fds: list[int]) -> BaseModel | object:
        if asked.method == "events.subscribe":
            return notice.Subscribed(subscription=f"S{self.lives}", seq=FIRST)
        return super().result(asked, fds)

    def own(self, method: str, params: request.OwnLease, fds: list[int]) -> BaseModel:
        if method == "lease.open" and self.in_use:
            raise RefusedError(Reason.in_use, "it is open")
        answer = super().own(method, params, fds)
        if method == "lease.release" and self.forgets:
            del self.leases[params.lease]
        return answer

    def acquire(self, params: request.Acquire, fds: list[int]) -> reply.AcquireResult:
        """As isod does: a key that is known answers without fds; a lease whose hold is gone is no
        lease any more."""
        wanted = {one.address for one in params.named}
        for lease in tuple(self.leases.values()):
            if lease.anchor == "hold" and not self.hold_is_there(lease.id):
                if self.drains and not params.wait:
                    holder = {"yours": True, "lease": lease.id}
                    raise RefusedError(
                        Reason.group_busy, "busy", devices=sorted(wanted), holder=holder
                    )
                del self.leases[lease.id]
            elif params.key is not None and lease.key == params.key:
                return reply.AcquireResult(lease=lease)
            elif wanted & {one.address for one in lease.devices}:
                holder = {"yours": True, "lease": lease.id}
                raise RefusedError(Reason.group_busy, "busy", devices=sorted(wanted), holder=holder)
        granted = super().acquire(params, fds)
        if params.anchor == "explicit":
            lease = granted.lease.model_copy(update={"anchor": "explicit"})
            self.leases[lease.id] = lease
            return granted.model_copy(update={"lease": lease})
        return granted

    def run(self, path: Path, listener: socket.socket) -> None:
        """Live again and again, one connection a life, until ``end``."""
        while True:
            with listener:
                ready, _, _ = select.select([listener.fileno(), self._end_read], [], [])
                if self._end_read in ready:
                    break
                connection, _ = listener.accept()
                path.unlink()
                self.lives += 1
            try:
                self.serve(connection)
            except (Ended, ConnectionError):
                connection.close()
            if self.forever:
                break
            listener = listening_at(path)
        os.close(self._end_read)

    def end(self) -> None:
        """End the life that has no client, and all further ones."""
        os.close(self._end_write)


def listening_at(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    return listener


@contextmanager
def coming_back(daemon: ComesBack, folder: Path) -> Iterator[Path]:
    """Run a daemon at a path until the block is left; the client is gone then."""
    path = folder / "isod.sock"
    with in_a_thread(daemon.run, path, listening_at(path)):
        try:
            yield path
        finally:
            daemon.end()
    daemon.close()
