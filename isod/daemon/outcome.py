"""What a waiting request will be told: a refusal, or a lease with files to send."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio
from pydantic import BaseModel

from isod.model.lease import Lease
from isod.model.reason import Refusal
from isod.model.step import OpenFile


def close_files(files: Sequence[OpenFile]) -> None:
    """Close what was opened and is not delivered. EBADF would be a fault of ours: it raises."""
    for file in files:
        os.close(file.descriptor)


@dataclass(slots=True)
class Delivery:
    """A lease and its files, owned here until closed; ``files`` is empty from then on. Closed
    before ``sent`` is set, it says ``lost``."""

    lease: Lease
    files: tuple[OpenFile, ...]
    lost: Callable[[], None] | None = None
    sent: bool = False

    @property
    def descriptors(self) -> tuple[int, ...]:
        return tuple(file.descriptor for file in self.files)

    def close(self) -> None:
        files, self.files = self.files, ()
        close_files(files)
        lost, self.lost = self.lost, None
        if lost is not None and not self.sent:
            lost()


class Outcome:
    """One request's answer, set once by the executor, taken once by the session."""

    def __init__(self) -> None:
        self._ready = trio.Event()
        self._answer: Delivery | Refusal | BaseModel | None = None
        self._dropped = False

    def set(self, answer: Delivery | Refusal | BaseModel) -> None:
        self._answer = answer
        self._ready.set()
        if self._dropped:
            self.drop()

    async def take(self) -> Delivery | Refusal | BaseModel:
        """Wait for the answer. The taker owns a Delivery's files from then on."""
        await self._ready.wait()
        answer, self._answer = self._answer, None
        assert answer is not None
        return answer

    def drop(self) -> None:
        """Nobody will take it any more: close what it holds, and what may still come. With a
        delivery goes the hold, so that a lease which nobody took ends by itself."""
        self._dropped = True
        if isinstance(self._answer, Delivery):
            self._answer.close()
        self._answer = None
