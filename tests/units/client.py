"""A client under the guest's systemd, seen from the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .init import READY_SECONDS, Init

NOBODY = 65534


class Client:
    """One ``holder.py``. An answer is its ``result``, or {"refused": …}, {"lost": …} or
    {"late": …}."""

    def __init__(self, init: Init, uid: int = NOBODY) -> None:
        program = Path(__file__).with_name("holder.py")
        self._process = subprocess.Popen(
            init.command(sys.executable, str(program), str(uid)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid_inside = self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def begin(self, do: str, **arguments: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the client is gone"
        answer = json.loads(line)
        return answer.get("result", answer) if "result" in answer else answer

    def do(self, do: str, **arguments: object) -> Any:
        self.begin(do, **arguments)
        return self.answer()

    def wait(self) -> None:
        """Wait until somebody else has ended it."""
        self._process.wait(READY_SECONDS)

    def kill(self) -> None:
        """SIGKILL it. ``nsenter`` waits for its child, so the child goes first."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split() if children.exists() else ():
            os.kill(int(child), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
