"""Client processes, seen from the test: started fast, told what to do, killed."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from isod.client.errors import ConnectionLost, Refused

from .stage import Stage

PATIENCE = 60.0
UID = 65534 if os.geteuid() == 0 else os.geteuid()
OTHER_UID = 65533 if os.geteuid() == 0 else os.geteuid()
_VFIO = re.compile(r"/opens/\d+/|/dev/vfio/(\d|noiommu|devices)|vfio-device")
_PROGRAM = Path(__file__).with_name("borrower_process.py")


def where(stage: Stage) -> dict[str, object]:
    """The arguments of ``connect``."""
    machine = stage.machine
    return {"socket": str(stage.socket), "kind": machine.kind, "root": str(machine.root)}


class Borrower:
    """One client process. ``do`` sends it an act and waits for what came of it."""

    def __init__(self, line: socket.socket, pid: int) -> None:
        self._line = line
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def connect(self, stage: Stage) -> None:
        """Connect to the stage's daemon, and know its machine."""
        self.do("connect", **where(stage))

    def do(self, act: str, **arguments: object) -> Any:
        """Raises what the act raised: Refused, ConnectionLost, OSError."""
        self.begin(act, **arguments)
        return self.answer()

    def begin(self, act: str, **arguments: object) -> None:
        """Tell it what to do; ``answer`` waits for what came of it."""
        self._line.send(json.dumps({"act": act, **arguments}).encode())

    def answer(self) -> Any:
        data = self._line.recv(1 << 20)
        if not data:
            raise ProcessLookupError(f"client {self.pid} is gone")
        answer = json.loads(data)
        if "refused" in answer:
            raise Refused(**answer["refused"])
        if "errno" in answer:
            raise OSError(answer["errno"], "in the client")
        if "lost" in answer:
            raise ConnectionLost(answer["lost"])
        return answer["result"]

    def perform(self, script: Sequence[Mapping[str, object]], die_at: int = 0) -> int | None:
        """Let it run a script of acts, killing itself at that line of its program (0: not at all).

        Returns how many lines it ran, or None when it died.
        """
        try:
            lines: int = self.do("perform", script=list(script), die_at=die_at)
        except (ProcessLookupError, ConnectionResetError):
            self.wait()
            return None
        return lines

    def vfio_files(self) -> list[str]:
        """The groups and devices that it has open, looked at from outside; none when it died."""
        found = []
        with suppress(FileNotFoundError):
            for place in Path(f"/proc/{self.pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    found.append(str(place.readlink()))
        return [target for target in found if _VFIO.search(target)]

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone with all that it had open."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self.wait()

    @property
    def alive(self) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def wait(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        assert poll.poll(PATIENCE * 1000), f"client {self.pid} does not end"

    def close(self) -> None:
        """Let it end as a program does, and wait for that. Closing twice is harmless."""
        self._line.close()
        if self._pidfd >= 0:
            self.wait()
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Borrowers:
    """Makes client processes by forking one that has imported everything already."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def start(self, uid: int = UID) -> Borrower:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            socket.send_fds(self._line, [json.dumps({"uid": uid}).encode()], [far.fileno()])
        near.settimeout(PATIENCE)
        pid: int = json.loads(self._line.recv(65536))
        return Borrower(near, pid)


@contextmanager
def borrowers_ready() -> Iterator[Borrowers]:
    """The process that client processes are forked from."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near:
        with far:
            process = subprocess.Popen([sys.executable, "-B", str(_PROGRAM)], stdin=far.fileno())
        with process:
            near.settimeout(PATIENCE)
            try:
                yield Borrowers(near)
            finally:
                near.shutdown(socket.SHUT_RDWR)
