"""Starts daemons under a tap, fast: they are forked off a process that has imported everything."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.walk.manager import Manager

from .tap import Tap

_PROGRAM = Path(__file__).with_name("launcher_process.py")
_PATIENCE = 120.0


class Launched:
    """A daemon's process, as ``tests.walk.daemon`` wants it. It is no child of ours, so that its
    exit code is not known: the matrix never lets one stop."""

    returncode: int | None = None

    def __init__(self, pid: int, stderr: IO[str]) -> None:
        self.pid = pid
        self.stderr: IO[str] | None = stderr
        self._pidfd = os.pidfd_open(pid)

    def wait(self, timeout: float | None = None) -> int:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(f"daemon {self.pid}", timeout or 0.0)
        return -signal.SIGKILL

    def kill(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._pidfd)


class Launcher:
    """Launches daemons for a stage. ``tap`` is the latest one's, ``kill_next_at`` the call at which
    the next one is killed, counted from its first (0: at none)."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._tap: Tap | None = None
        self.kill_next_at = 0

    @property
    def tap(self) -> Tap:
        assert self._tap is not None, "no daemon was launched"
        return self._tap

    def __call__(self, arguments: Sequence[str], manager: Manager | None = None) -> Launched:
        environment, handed = ({}, []) if manager is None else manager.start_with()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read, write = os.pipe2(os.O_CLOEXEC)
        with near:
            near.settimeout(_PATIENCE)
            with far:
                wish = json.dumps({"arguments": list(arguments), "environment": environment})
                socket.send_fds(self._line, [wish.encode()], [far.fileno(), write, *handed])
            os.close(write)
            data, [listener], _, _ = socket.recv_fds(near, 65536, 1)
            process = Launched(json.loads(data), os.fdopen(read))
            self._tap = Tap(listener, process.pid, self.kill_next_at)
            self.kill_next_at = 0
        return process


@contextmanager
def launcher_ready() -> Iterator[Launcher]:
    """The process that daemons are forked from."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near:
        with far:
            process = subprocess.Popen([sys.executable, "-B", str(_PROGRAM)], stdin=far.fileno())
        with process:
            try:
                yield Launcher(near)
            finally:
                near.shutdown(socket.SHUT_RDWR)
