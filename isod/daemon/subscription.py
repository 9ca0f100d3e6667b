"""What one subscriber is still to be sent: a queue with an end.

Whoever does not read costs its own queue and nothing else. A full one ends the subscription; what
is in it still goes out when the subscriber reads again, and then a last event, ``gap``: nothing is
dropped in silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

import trio

from isod.core.accounts import Resource
from isod.core.view import may_see
from isod.model.notice import GAP, Notice
from isod.model.reason import RefusedError

from .identify import Identity
from .ring import Published

QUEUE_BYTES = 1 << 20
TOO_MUCH = "too much waits for you to be read"


class Subscription:
    """One per ``events.subscribe``. At most ``most`` events wait for the subscriber, in at most
    QUEUE_BYTES, besides those that it had missed."""

    def __init__(self, name: str, who: Identity, families: Collection[str], most: int) -> None:
        self.name = name
        self.who = who
        self._families = frozenset(families)
        self._most = most
        self._size = QUEUE_BYTES
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._over = False
        self._news = trio.Event()

    def begin(self, missed: Sequence[Published] | None, latest: int) -> None:
        """Begin with what was missed; None: that is not known, and the subscription is over."""
        if missed is None:
            self._end_with_gap(latest, "what came before is not known any more", lost=True)
            return
        for event in missed:
            if self._wants(event) and not self._put(event.body):
                self._end_with_gap(event.seq - 1, TOO_MUCH, lost=False)
        self._most += len(self._queue)
        self._size += self._bytes

    def offer(self, event: Published) -> None:
        """Queue the event if the subscriber is to have it; never waits."""
        if not self._wants(event):
            return
        if len(self._queue) >= self._most or self._bytes >= self._size:
            self._end_with_gap(event.seq - 1, "you did not read", lost=False)
        elif not self._put(event.body):
            self._end_with_gap(event.seq - 1, TOO_MUCH, lost=False)

    async def next(self) -> bytes | None:
        """Wait for the next packet to send; None when there will be none any more."""
        while not self._queue:
            if self._over:
                return None
            self._news = trio.Event()
            await self._news.wait()
        packet = self._queue.popleft()
        self._forget(len(packet))
        return packet

    def end(self) -> None:
        """Send nothing any more."""
        self._over = True
        self._queue.clear()
        self._forget(self._bytes)
        self._news.set()

    def dismiss(self, latest: int, why: str) -> None:
        """End after what waits already, and say why."""
        if not self._over:
            self._end_with_gap(latest, why, lost=False)

    def _wants(self, event: Published) -> bool:
        if self._over or event.family not in self._families:
            return False
        return event.owner is None or may_see(self.who.peer, event.owner)

    def _end_with_gap(self, seq: int, note: str, *, lost: bool) -> None:
        self._append(self._packet(encode(Notice(seq=seq, kind=GAP, note=note, lost=lost))))
        self._over = True

    def _put(self, body: bytes) -> bool:
        """Queue an event, unless that is more than its connection or user may have waiting."""
        packet = self._packet(body)
        try:
            self.who.account.charge(Resource.bytes, len(packet))
        except RefusedError:
            return False
        self._bytes += len(packet)
        self._append(packet)
        return True

    def _packet(self, body: bytes) -> bytes:
        return b'{"jsonrpc":"2.0","method":"event","params":{"subscription":"%b",%b}' % (
            self.name.encode(),
            body[1:],
        )

    def _append(self, packet: bytes) -> None:
        self._queue.append(packet)
        self._news.set()

    def _forget(self, size: int) -> None:
        """So much of what was charged waits no more. The gap, which is last, was not charged."""
        size = min(size, self._bytes)
        self._bytes -= size
        self.who.account.discharge(Resource.bytes, size)


def encode(notice: Notice) -> bytes:
    """The event's JSON object, without what is null or empty."""
    return notice.model_dump_json(exclude_defaults=True).encode("utf-8")
