"""What has begun and has not ended: counted, so that a stop can wait for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio

PATIENCE_SECONDS = 1.0


class UnderWay:
    """A context for each; or ``begin`` and, whatever becomes of it, ``end``.

    What waits for a helper process may wait for ever, for a driver that does not let go. So it
    counts for ``PATIENCE_SECONDS`` only: such a wait can be abandoned at any moment.
    """

    def __init__(self) -> None:
        self._count = 0
        self._helped: dict[object, tuple[float, str | None]] = {}
        self._news = trio.Event()

    def begin(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        self._tell()

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    @contextmanager
    def helped(self, lease: str | None = None) -> Iterator[None]:
        """For one of those that are counted: it waits for a helper, on behalf of ``lease``."""
        wait = object()
        self._helped[wait] = (trio.current_time() + PATIENCE_SECONDS, lease)
        self._tell()
        try:
            yield
        finally:
            del self._helped[wait]
            self._tell()

    @property
    def stuck(self) -> tuple[str, ...]:
        """The leases for which a helper does not come back."""
        now = trio.current_time()
        return tuple(
            lease for until, lease in self._helped.values() if until <= now and lease is not None
        )

    async def none_left(self) -> None:
        """Wait for a moment at which nothing is under way but what is stuck."""
        while True:
            now = trio.current_time()
            left = [until - now for until, _ in self._helped.values() if until > now]
            if self._count <= len(self._helped) - len(left):
                return
            with trio.move_on_after(min(left, default=math.inf)):
                await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
