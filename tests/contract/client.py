"""The near side of a client process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isod.model.step import OpenFile

_PROGRAM = Path(__file__).with_name("client_process.py")
UID = 65534


class Client:
    """A process of uid 65534 (of our own where we are not root), told what to do."""

    def __init__(self, line: socket.socket, pid: int) -> None:
        self._line = line
        self.pid = pid

    def keep(self, files: Iterable[OpenFile]) -> None:
        """Give it files, named ``iommufd``, ``container``, ``group12``, ``device0``, …."""
        found = list(files)
        names: list[str] = []
        for file in found:
            count = sum(name.startswith(file.role) for name in names)
            names.append(f"{file.role}{count}" if file.role in {"group", "device"} else file.role)
        request = json.dumps({"act": "keep", "names": names}).encode()
        socket.send_fds(self._line, [request], [file.descriptor for file in found])
        self._answer()

    def do(self, act: str, **arguments: object) -> object:
        """Do an act. Raises OSError with the errno that the client got."""
        self._line.send(json.dumps({"act": act, **arguments}).encode())
        return self._answer()

    def _answer(self) -> object:
        answer = json.loads(self._line.recv(65536))
        if answer["errno"]:
            raise OSError(answer["errno"], "in the client")
        result: object = answer["result"]
        return result


@contextmanager
def running_client() -> Iterator[Client]:
    """Start a client; at the end it has exited, with all that it held."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near:
        with far:
            command = [sys.executable, "-B", str(_PROGRAM), str(UID)]
            process = subprocess.Popen(command, stdin=far.fileno(), cwd="/")
        with process:
            try:
                yield Client(near, process.pid)
            finally:
                near.shutdown(socket.SHUT_RDWR)
