"""Measures calls and their floor in turns, so that whatever else the machine does hits both."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import perf_counter_ns
from typing import Any

from isod.wire import packet
from tests.walk.line import Line

_ECHO = Path(__file__).with_name("echo.py")
_WARM_UP = 20
_BLOCK = 50


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds: the median, and what one call in a hundred exceeds."""

    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``sent`` and ``received`` are bytes of all packets there and back."""

    name: str
    rounds: int
    sent: int
    received: int
    floor: Times
    isod: Times


@dataclass(slots=True)
class Meter:
    """A raw connection to the daemon that counts bytes."""

    line: Line
    sent: int = 0
    received: int = 0

    def call(self, method: str, **params: object) -> tuple[Any, tuple[int, ...]]:
        """A call's result and fds, which are the caller's."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        request = json.dumps(asked).encode()
        self.line.socket.send(request)
        reply = packet.receive(self.line.socket)
        assert reply is not None
        self.sent += len(request)
        self.received += len(reply.data)
        return json.loads(reply.data)["result"], reply.fds


def measure(name: str, meter: Meter, act: Callable[[], object], rounds: int, trips: int) -> Row:
    """Measure an act of so many round trips against as many bare ones of the same mean size."""
    for _ in range(_WARM_UP):
        act()
    meter.sent = meter.received = 0
    act()
    sent, received = meter.sent, meter.received
    floor: list[int] = []
    isod: list[int] = []
    with echoing(received // trips) as bare:
        request = b"x" * (sent // trips)

        def echo() -> None:
            for _ in range(trips):
                bare.send(request)
                bare.recv(65536)

        for _ in range(_WARM_UP):
            echo()
        for _ in range(max(1, rounds // _BLOCK)):
            floor += timed(echo)
            isod += timed(act)
    return Row(name, len(isod), sent, received, times(floor), times(isod))


def timed(act: Callable[[], object]) -> list[int]:
    """Nanoseconds of each of a block of runs."""
    found = []
    for _ in range(_BLOCK):
        began = perf_counter_ns()
        act()
        found.append(perf_counter_ns() - began)
    return found


def times(nanoseconds: Sequence[int]) -> Times:
    cuts = quantiles(nanoseconds, n=100)
    return Times(cuts[49] / 1000, cuts[98] / 1000)


@contextmanager
def echoing(reply: int) -> Iterator[socket.socket]:
    """A connection to an echo process."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near:
        with far:
            command = [sys.executable, "-S", str(_ECHO), str(reply)]
            process = subprocess.Popen(command, stdin=far.fileno())
        with process:
            yield near
            near.shutdown(socket.SHUT_RDWR)
