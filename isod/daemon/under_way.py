"""What has begun and has not ended: counted, so that a stop can wait for it."""

from __future__ import annotations

import trio


class UnderWay:
    """A context for each; or ``begin`` and, whatever becomes of it, ``end``."""

    def __init__(self) -> None:
        self._count = 0
        self._one_less = trio.Event()

    def begin(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        self._one_less.set()
        self._one_less = trio.Event()

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    async def none_left(self) -> None:
        """Wait for a moment at which nothing is under way."""
        while self._count:
            await self._one_less.wait()
