"""A connection's way out: whole packets, in order, and no more unread than ``[limits]`` allow."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

import trio

from isod.core.accounts import Account, Resource
from isod.model.reason import Reason, Refusal
from isod.wire.packet import ancillary, check_sendable

from .unread import Unread, unread_bytes

SEND_SECONDS = 10.0
LOOK_SECONDS = 1.0
_SOON_SECONDS = 0.02


class Outbox:
    """Sends to one peer. ``account`` is charged with what waits to be sent, and with the fds that
    were sent and not read."""

    def __init__(self, connection: trio.socket.SocketType, account: Account) -> None:
        self._connection = connection
        self._account = account
        self._sending = trio.Lock()
        self._unread = Unread()

    @property
    def has_unread_fds(self) -> bool:
        """Whether fds wait in the peer's socket."""
        self._look()
        return self._unread.fds > 0

    def check_reading(self) -> None:
        """Raises RefusedError where not even one more fd may be left unread."""
        if not self._has_room(1):
            self._account.charge(Resource.unread_fds)

    async def send(self, data: bytes, fds: tuple[int, ...] = (), *, patience: float = 0.0) -> None:
        """Send one packet. A reply with more fds than may be unread waits so many seconds for room.

        Raises RefusedError (quota): nothing was sent, for there is too much that was not read.
        Raises TooSlowError and OSError: the connection is of no use any more.
        """
        check_sendable(data, fds)
        with self._account.charged(Resource.bytes, len(data)):
            await self._charge_fds(len(fds), patience)
            try:
                with trio.fail_after(SEND_SECONDS):
                    await self._send(data, fds)
            except BaseException:
                self._account.discharge(Resource.unread_fds, len(fds))
                raise

    async def send_event(self, data: bytes) -> None:
        """Send one event, however long that takes; its subscription's queue fills meanwhile.
        Raises OSError."""
        async with self._sending:
            before = self._weigh(0)
            await self._connection.sendmsg([data], [])
            self._sent(data, 0, before)

    def too_slow(self, seconds: float) -> Refusal | None:
        """Why the peer is to be disconnected: fds that were sent so long ago were not read."""
        self._look()
        oldest = self._unread.oldest
        if oldest is None or trio.current_time() - oldest < seconds:
            return None
        text = f"{self._unread.fds} file descriptors were not read within {seconds:g} seconds"
        return Refusal(Reason.quota, text, {}, "read answers as they come")

    def say_last(self, data: bytes) -> None:
        """A last word, if there is room for it; none is waited for."""
        with suppress(OSError):
            os.write(self._connection.fileno(), data)

    async def linger(self) -> None:
        """The session is over. What is unread stays in the peer's socket until it reads or closes
        that, whatever is done here: so long this end is kept, and with it what was charged.
        Otherwise it could be had again and again over new connections."""
        if not self.has_unread_fds:
            return
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        seconds = _SOON_SECONDS
        while self.has_unread_fds:
            await trio.sleep(seconds)
            seconds = min(2 * seconds, LOOK_SECONDS)

    async def _charge_fds(self, count: int, patience: float) -> None:
        with trio.move_on_after(patience):
            while True:  # nothing tells of a peer that reads
                if count == 0 or self._has_room(count):
                    break
                await trio.sleep(_SOON_SECONDS)
        self._account.charge(Resource.unread_fds, count)

    def _has_room(self, count: int) -> bool:
        self._look()
        return self._account.refusal(Resource.unread_fds, count) is None

    async def _send(self, data: bytes, fds: tuple[int, ...]) -> None:
        async with self._sending:
            while True:
                before = self._weigh(len(fds))
                try:
                    await self._connection.sendmsg([data], ancillary(fds))
                    break
                except OSError as error:
                    # Others have left too many unread. They are told to read, and disconnected.
                    if error.errno != errno.ETOOMANYREFS:
                        raise
                    await trio.sleep(LOOK_SECONDS)
            self._sent(data, len(fds), before)

    def _weigh(self, fds: int) -> int:
        """What is unread, if it is of interest."""
        return unread_bytes(self._connection.fileno()) if fds or self._unread.fds else 0

    def _sent(self, data: bytes, fds: int, before: int) -> None:
        weight = max(len(data), self._weigh(fds) - before)
        self._unread.sent(weight, fds, trio.current_time())

    def _look(self) -> None:
        if self._unread.fds:
            read = self._unread.look(unread_bytes(self._connection.fileno()))
            self._account.discharge(Resource.unread_fds, read)
