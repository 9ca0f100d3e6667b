"""One helper process and the two pipes to it."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from pathlib import Path
from time import monotonic

_PROGRAM = Path(__file__).with_name("helper_process.py")
_START_SECONDS = 20.0


class StuckError(Exception):
    """The kernel did not let an act return in time; the helper that did it was abandoned."""


class HelperPipe:
    """A helper process: started at once, one request at a time.

    It gets a fixed argument list, an empty environment, a session of its own and no fd but its
    pipes. Raises OSError when it cannot be started.
    """

    def __init__(self, sysfs: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM), str(sysfs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            close_fds=True,
            cwd="/",
            env={},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests = self._process.stdin
        self._answers = self._process.stdout
        self._rest = b""
        try:
            self.answer(_START_SECONDS)
        except (OSError, StuckError) as error:
            self.let_go()
            raise OSError(errno.ECHILD, "the helper process did not start") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Readable when an answer, or the end, has come."""
        return self._answers.fileno()

    def send(self, *fields: object) -> None:
        """Send one request. Raises OSError (EPIPE) when the process has gone."""
        data = memoryview("\t".join(map(str, fields)).encode() + b"\n")
        while data:
            data = data[os.write(self._requests.fileno(), data) :]

    def answer(self, seconds: float | None) -> list[str]:
        """The fields of the next answer, waited for at most ``seconds`` (None: for ever).

        Raises StuckError, and OSError when the process ended instead of answering.
        """
        deadline = None if seconds is None else monotonic() + seconds
        while b"\n" not in self._rest:
            if deadline is not None and not self._readable(deadline - monotonic()):
                raise StuckError("the kernel did not answer in time")
            data = os.read(self.fileno(), 65536)
            if not data:
                raise BrokenPipeError(errno.EPIPE, "the helper process ended")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode().split("\t")

    def let_go(self) -> None:
        """Close the pipes: an idle process ends now, a stuck one as soon as the kernel lets it."""
        self._requests.close()
        self._answers.close()

    def ended(self, seconds: float = 0.0) -> bool:
        """Reap the process if it ends within ``seconds``; True when it has."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def outlive(self) -> None:
        """Let the process outlive us: it is no child to be waited for at exit."""
        self._process.returncode = 0

    def _readable(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))
