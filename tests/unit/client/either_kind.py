"""Both kinds of client, played by one test: what the trio client has to wait for is waited for."""

from __future__ import annotations

import inspect
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from isod.client import aio, blocking

KINDS = ("blocking", "trio")


@asynccontextmanager
async def connected(kind: str, path: Path, **how: Any) -> AsyncIterator[Any]:
    """A client of either kind; what its methods return goes through ``done``."""
    if kind == "trio":
        async with aio.Client.connect(path, **how) as client:
            yield client
    else:
        with blocking.Client.connect(path, timeout=30, **how) as client:
            yield client


async def done(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


@asynccontextmanager
async def following(isod: Any, **how: Any) -> AsyncIterator[Any]:
    events = isod.events(**how)
    if isinstance(isod, aio.Client):
        async with events as entered:
            yield entered
    else:
        with events:
            yield events


async def next_of(events: Any) -> Any:
    return await anext(events) if isinstance(events, aio.Events) else next(events)


def until_it_hangs_up(isod: Any) -> None:
    poll = select.poll()
    poll.register(isod._connection.socket.fileno(), select.POLLRDHUP)
    assert poll.poll(30_000)
