"""Events that came in between and that nobody has taken yet, by subscription.

They come whenever the socket is read; who never takes them must not hoard them. Where some have to
be left out, ``gap`` is the last of the subscription, as when the daemon leaves some out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from isod.model.notice import GAP

EVENTS = 1000
Event = Mapping[str, object]


class EventQueue:
    """At most EVENTS of all subscriptions together, and a gap for each."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._over: set[object] = set()

    def put(self, event: Event) -> None:
        """Take an event in, unless its subscription is over for us."""
        name = event.get("subscription")
        if name in self._over:
            return
        if len(self._events) < EVENTS:
            self._events.append(event)
            return
        self._over.add(name)
        known = [one.get("seq") for one in self._events if one.get("subscription") == name]
        note = "this program did not take its events"
        gap = {"kind": GAP, "seq": known[-1] if known else event.get("seq"), "note": note}
        self._events.append({**gap, "subscription": name, "lost": not known})

    def take(self, subscription: str | None) -> Event | None:
        """The oldest event of a subscription, or with None of any."""
        for place, event in enumerate(self._events):
            if subscription is None or event.get("subscription") == subscription:
                del self._events[place]
                return event
        return None

    def has(self, subscription: str) -> bool:
        """Whether there is an event of a subscription to be taken."""
        return any(event.get("subscription") == subscription for event in self._events)

    def forget(self, subscription: str) -> None:
        """Nobody takes the events of this subscription any more."""
        self._over.add(subscription)
        kept = [one for one in self._events if one.get("subscription") != subscription]
        self._events = deque(kept)
