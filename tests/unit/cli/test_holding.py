"""Holding a lease in the foreground."""

from __future__ import annotations

import os
import signal

import pytest

from isod.cli.holding import Woken, ending_signals, wait


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_and_nothing_else(number: signal.Signals) -> None:
    reading, writing = os.pipe()
    with ending_signals() as signals:
        os.kill(os.getpid(), number)
        assert wait(signals, writing, 60) is Woken.by_signal
    os.close(reading)
    os.close(writing)


def test_the_wait_ends_when_nobody_reads_the_hold() -> None:
    reading, writing = os.pipe()
    with ending_signals() as signals:
        os.close(reading)
        assert wait(signals, writing, 60) is Woken.by_hold
    os.close(writing)


def test_the_wait_has_an_end() -> None:
    reading, writing = os.pipe()
    with ending_signals() as signals:
        assert wait(signals, writing, 0) is Woken.by_time
    os.close(reading)
    os.close(writing)


def test_signals_are_put_back() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with ending_signals():
        assert signal.getsignal(signal.SIGTERM) is not former
    assert signal.getsignal(signal.SIGTERM) is former
    assert signal.set_wakeup_fd(-1) == -1
