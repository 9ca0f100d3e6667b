"""A connection in a crowd of many: packets as they are, under trio."""

from __future__ import annotations

import errno
import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import trio

from isod.model.request import PACKET_BYTES
from isod.wire import packet

PATIENCE = 120.0
_ENDED = {errno.EPIPE, errno.ECONNRESET, errno.ETOOMANYREFS, errno.EPERM, errno.EMSGSIZE}


class EndedError(Exception):
    """The daemon has ended the connection."""


class Connection:
    """Owns a socket. ``answers`` counts what came back."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.socket = sock
        self.answers = 0
        self._calls = 0

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Waits as long as the listener's queue is full (EAGAIN, which trio's connect mistakes)."""
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.setblocking(False)
            try:
                sock.connect(str(path))
            except BlockingIOError:
                sock.close()
                await trio.sleep(0.01)
            except BaseException:
                sock.close()
                raise
            else:
                return cls(trio.socket.from_stdlib_socket(sock))

    async def send(self, data: bytes, fds: list[int] | None = None) -> None:
        """Raises EndedError, also where the kernel takes no more fds of this user."""
        try:
            await self.socket.sendmsg([data], packet.ancillary(fds or []), socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno not in _ENDED:
                raise
            raise EndedError from error

    async def call(self, method: str, **params: object) -> int:
        """Send a call; its id."""
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        await self.send(json.dumps(request).encode())
        return self._calls

    async def receive(self) -> tuple[Any, tuple[int, ...]]:
        """The next packet and its fds, which the caller owns. Raises EndedError."""
        with trio.fail_after(PATIENCE):
            try:
                taken = await self.socket.recvmsg(
                    PACKET_BYTES, packet.CONTROL_BYTES, packet.RECEIVE_FLAGS
                )
            except ConnectionResetError as error:
                raise EndedError from error
        received = packet.unpack(taken, self.socket.fileno())
        if received is None:
            raise EndedError
        answer = json.loads(received.data)
        self.answers += "id" in answer
        return answer, received.fds

    async def ask(self, method: str, **params: object) -> tuple[Any, tuple[int, ...]]:
        """A call and its answer; events in between are dropped. Raises EndedError."""
        identity = await self.call(method, **params)
        while True:
            answer, fds = await self.receive()
            if answer.get("id") == identity:
                return answer, fds
            packet.close_all(fds)
            if "id" in answer:
                # The daemon refuses a whole connection with an answer to no call.
                raise EndedError(str(answer))

    def close(self) -> None:
        with suppress(OSError):
            self.socket.close()
