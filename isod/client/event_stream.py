"""A subscription to events, without I/O: what both kinds of client know about it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from isod.model.notice import GAP, Notice, Subscribed
from isod.model.request import Family

from .errors import EventsLost, ProtocolError
from .exchange import Exchange, subscribe


class EventStream:
    """``seq`` is that of the latest event that was taken: a later subscription that begins
    ``since`` there misses none. ``over`` says that there will be none any more."""

    def __init__(
        self, kinds: tuple[Family, ...], subscribed: Subscribed, since: int | None
    ) -> None:
        self.subscription = subscribed.subscription
        self.seq = subscribed.seq if since is None else since
        self.over = False
        self._kinds = kinds

    def _renewing(self) -> Exchange[Subscribed]:
        """Subscribe again, on another connection, to what comes after the latest event that was
        taken. The former connection has none any more that nobody took."""
        return subscribe(self._kinds, self.seq)

    def _taken(self, event: Mapping[str, object]) -> Notice:
        """Read an event. Raises EventsLost at the gap that ends the subscription."""
        try:
            notice = Notice.model_validate(event)
        except ValidationError as error:
            raise ProtocolError(f"an event that is none: {error.errors()[0]['msg']}") from None
        self.seq = notice.seq
        if notice.kind == GAP:
            self.over = True
            raise EventsLost(notice.seq, notice.note or "", gone=notice.lost)
        return notice
