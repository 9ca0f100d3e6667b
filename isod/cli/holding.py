"""Waiting in the foreground for the end: a signal, or isod letting go of the hold."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Woken(Enum):
    """What ended a wait."""

    by_signal = "told to end"
    by_hold = "nobody reads the hold any more"
    by_time = "nothing"


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


class ToldToEnd(Exception):  # noqa: N818
    """A signal came."""


@contextmanager
def interruptible(signals: int) -> Iterator[None]:
    """Inside ``ending_signals``: here a signal ends even a call that waits, by ToldToEnd."""
    former = {one: signal.signal(one, _tell) for one in _ENDING}
    try:
        if select.select([signals], [], [], 0)[0]:
            raise ToldToEnd
        yield
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)


def wait(signals: int, hold: int, seconds: float) -> Woken:
    """Wait for a signal, for the hold, or for some time.

    The hold is the write end of a pipe: with nobody left to read it, it is in error.
    """
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    poll.register(hold, 0)  # errors are reported unasked
    woken = {number for number, _ in poll.poll(seconds * 1000)}
    if signals in woken:
        return Woken.by_signal
    return Woken.by_hold if woken else Woken.by_time


def _noted(number: int, frame: object) -> None:
    """The wakeup fd has told already; a handler must be there for it to be told."""


def _tell(number: int, frame: object) -> NoReturn:
    raise ToldToEnd
