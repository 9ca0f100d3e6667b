"""The latest events, as they are sent: what somebody missed for a moment is still to be had."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

EVENTS = 4096
BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Published:
    """An event. ``body`` is its JSON object; ``owner`` the uid whose lease it is about, None for
    what everybody may see."""

    seq: int
    family: str
    owner: int | None
    body: bytes


class Ring:
    """The last so many events and bytes, the newest always. ``latest`` is the ``seq`` of the event
    before the first."""

    def __init__(self, latest: int, events: int = EVENTS, size: int = BYTES) -> None:
        self.latest = latest
        self._forgotten = latest
        self._events: deque[Published] = deque()
        self._most = events
        self._size = size
        self._bytes = 0

    def add(self, event: Published) -> None:
        """Add the next event, and forget the oldest for it."""
        self.latest = event.seq
        self._events.append(event)
        self._bytes += len(event.body)
        while len(self._events) > self._most or (
            self._bytes > self._size and len(self._events) > 1
        ):
            oldest = self._events.popleft()
            self._bytes -= len(oldest.body)
            self._forgotten = oldest.seq

    def since(self, seq: int) -> tuple[Published, ...] | None:
        """The events after ``seq``; None if some of them may be forgotten, or ``seq`` is none that
        was given yet (it comes from before the machine was started anew)."""
        if not self._forgotten <= seq <= self.latest:
            return None
        return tuple(event for event in self._events if event.seq > seq)
