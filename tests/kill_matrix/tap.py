"""A tap on a daemon: counts its system calls that change something outside, and kills at the n-th.

The call at which it kills is not made, and no other thread's is let go meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import seccomp
from .syscalls import NAMES

Role = Literal["loop", "thread", "helper"]
Victim = Literal["daemon", "helper", "both"]
_END_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Point:
    """A call in the middle of a walk: the n-th, whose, and which. ``place`` is what its file
    descriptor stands for, if its first argument is one."""

    number: int
    role: Role
    call: str
    place: str

    def __str__(self) -> str:
        return f"{self.number}: {self.call} {self.place} ({self.role})".replace(" ()", "")


class Tap:
    """Owns a seccomp listener and a thread that lets the calls go, one after the other.

    ``points`` are the calls counted since it was armed; ``killed`` is the last of them, if it
    killed. Made, it is armed. It ends when the daemon and all its helpers have.
    """

    def __init__(self, listener: int, pid: int, kill_at: int = 0) -> None:
        self._listener = listener
        self._pid = pid
        self._lock = threading.Lock()
        self._armed = True
        self._kill_at = kill_at
        self._victim: Victim = "daemon"
        self.points: list[Point] = []
        self.killed: Point | None = None
        self._pidfd = os.pidfd_open(pid)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def arm(self, kill_at: int = 0, victim: Victim = "daemon") -> None:
        """Count from now on, and kill at that call (0: at none). Only the helpers' calls count if
        one of them is to be killed, alone or with the daemon."""
        with self._lock:
            self._armed, self._kill_at, self._victim = True, kill_at, victim
            self.points, self.killed = [], None

    def disarm(self) -> int:
        """Count no more; how many there were."""
        with self._lock:
            self._armed = False
            return len(self.points)

    def ended(self, seconds: float) -> bool:
        """Whether the daemon and its helpers end within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            _, events = poll.poll()[0]
            if not events & select.POLLIN:
                break
            call = seccomp.receive(self._listener)
            if call is not None:
                with self._lock:
                    self._meet(call)
        os.close(self._listener)
        os.close(self._pidfd)

    def _meet(self, call: seccomp.Call) -> None:
        if self._armed:
            process = _process_of(call.thread)
            if process is None:
                return
            point = self._point(call, process)
            if point.role == "helper" or self._victim == "daemon":
                self.points.append(point)
                if point.number == self._kill_at:
                    self._kill(point, process)
        # Of a thread that was killed this does nothing; a helper goes on without its daemon.
        seccomp.let_go(self._listener, call)

    def _kill(self, point: Point, process: int) -> None:
        self._armed = False
        self.killed = point
        if self._victim != "daemon":
            os.kill(process, signal.SIGKILL)
        if self._victim != "helper":
            self._kill_daemon()

    def _kill_daemon(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(_END_SECONDS * 1000)

    def _point(self, call: seccomp.Call, process: int) -> Point:
        role: Role = "loop" if call.thread == self._pid else "thread"
        if process != self._pid:
            role = "helper"
        return Point(
            len(self.points) + 1, role, NAMES[call.number], _place(process, call.arguments[0])
        )


def _process_of(thread: int) -> int | None:
    """The process that a thread belongs to; None if it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{thread}/status").read_text().splitlines():
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    return None


def _place(process: int, descriptor: int) -> str:
    with suppress(OSError):
        return str(Path(f"/proc/{process}/fd/{descriptor}").readlink())
    return ""
