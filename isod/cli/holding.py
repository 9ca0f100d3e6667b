"""Waiting in the foreground for the end: a signal, or the daemon letting go of the hold."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_signals() -> Iterator[int]:
    """Turn SIGINT, SIGTERM and SIGHUP into bytes on an fd while inside: readable is told to end."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    former_wakeup = signal.set_wakeup_fd(writing)
    former = {one: signal.signal(one, _noted) for one in _ENDING}
    try:
        yield reading
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(former_wakeup)
        os.close(reading)
        os.close(writing)


def wait_for_end(signals: int, hold: int | None) -> bool:
    """Wait; True when told to end by a signal, False when the lease has ended.

    The hold is the write end of a pipe: with nobody left to read it, it is in error. isod closes
    its end when the lease ends, for whatever reason.
    """
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    if hold is not None:
        poll.register(hold, 0)  # errors are reported unasked
    return any(number == signals for number, _ in poll.poll())


def _noted(number: int, frame: object) -> None:
    """The wakeup fd has told already; a handler must be there for it to be told."""
