"""The helper processes: sysfs acts that may wait for a client, out of the daemon's way.

A write of ``unbind`` waits until every file of the device is closed, uninterruptibly after a
signal (drivers/vfio/vfio_main.c, vfio_unregister_group_dev). A thread in that state would keep
the daemon from exiting, with its sockets and locks held. So such acts run in a small process that
inherits nothing. One that does not answer in time is abandoned: it ends by itself when the kernel
lets it go, since nobody is at the other end of its pipes any more.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .helper_pipe import HelperPipe, StuckError

_KEPT = 4
_END_SECONDS = 1.0

__all__ = ["Helpers", "PendingWrites", "StuckError", "Write"]


@dataclass(frozen=True, slots=True)
class Write:
    """One write: ``path`` below the sysfs root, and the inode that the attribute's directory must
    have (None: not looked at; another inode ends in ESTALE)."""

    path: str
    text: str
    inode: int | None = None


class PendingWrites:
    """Writes under way; the answer comes when the last has returned."""

    def __init__(self, helpers: Helpers, pipe: HelperPipe) -> None:
        self._helpers = helpers
        self._pipe: HelperPipe | None = pipe
        self.pid = pipe.pid

    def fileno(self) -> int:
        """Readable when the writes have returned or their process has ended."""
        if self._pipe is None:
            raise ValueError("finished already")
        return self._pipe.fileno()

    def finish(self) -> list[int]:
        """The writes' errnos (0: done), in order; waits for them.

        Raises OSError when the process ended early: then nothing is known of the writes.
        """
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            raise ValueError("finished already")
        return self._helpers.collect(pipe, None)

    def abandon(self) -> None:
        """Leave the process to itself; the writes may still happen."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._helpers.leave(pipe)


class Helpers:
    """The helper processes of one kernel. Safe to use from several threads.

    Idle processes are kept and used again, four at most; further ones are started when all are
    busy.
    """

    def __init__(self, sysfs: Path) -> None:
        self._sysfs = sysfs
        self._lock = threading.Lock()
        self._idle: list[HelperPipe] = []
        self._left: list[HelperPipe] = []
        self._closed = False

    def prepare(self, count: int) -> None:
        """Have so many idle processes (four at most) ready, so that nobody waits for a start.

        Raises OSError when one cannot be started.
        """
        while True:
            with self._lock:
                enough = self._closed or len(self._idle) >= min(count, _KEPT)
            if enough:
                return
            self._keep(HelperPipe(self._sysfs))

    def start(self, writes: Sequence[Write]) -> PendingWrites:
        """Begin writes that may wait for ever; waits only for the process to start.

        Raises OSError when none can be started.
        """
        return PendingWrites(self, self._send("write", *_acts(writes)))

    def write(self, writes: Sequence[Write], seconds: float) -> list[int]:
        """Do writes that must not take longer than ``seconds``: their errnos, in order.

        They may be made twice: where the process was killed, another makes them anew, once. It
        ends only after the kernel has let go of its write, so that the two do not meet.

        Raises StuckError, and OSError when the process failed.
        """
        try:
            return self.collect(self._send("write", *_acts(writes)), seconds)
        except BrokenPipeError:
            return self.collect(self._send("write", *_acts(writes)), seconds)

    def read(self, paths: Iterable[str], seconds: float) -> dict[str, tuple[int, str] | None]:
        """Read attributes: errno and text each, or None where the kernel did not answer within
        ``seconds``. Raises OSError when the process failed."""
        left = list(paths)
        found: dict[str, tuple[int, str] | None] = {}
        ended = False
        while left:
            pipe = self._send("read", *left)
            done = 0
            try:
                while done < len(left):
                    number, text = pipe.answer(seconds)
                    found[left[done]] = (
                        int(number),
                        bytes.fromhex(text).decode("utf-8", "replace"),
                    )
                    done += 1
            except StuckError:
                self.leave(pipe)
                found[left[done]] = None
                done += 1
            except ValueError as error:
                self.leave(pipe)
                raise OSError(errno.EPROTO, "not an answer") from error
            except OSError:  # it was killed: once another goes on
                self.leave(pipe)
                if ended:
                    raise
                ended = True
            else:
                self._keep(pipe)
            left = left[done:]
        return found

    def collect(self, pipe: HelperPipe, seconds: float | None) -> list[int]:
        """Wait for the errnos of a pipe's writes. Raises StuckError, OSError."""
        try:
            numbers = [int(number) for number in pipe.answer(seconds) if number]
        except ValueError as error:
            self.leave(pipe)
            raise OSError(errno.EPROTO, "not an answer") from error
        except (OSError, StuckError):
            self.leave(pipe)
            raise
        self._keep(pipe)
        return numbers

    def leave(self, pipe: HelperPipe) -> None:
        """Abandon a process, and reap those that have ended since."""
        pipe.let_go()
        with self._lock:
            self._left = [one for one in [*self._left, pipe] if not one.ended()]

    def close(self) -> None:
        """End the idle processes; stuck ones are left to themselves."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            left, self._left = self._left, []
        for pipe in idle:
            pipe.let_go()
        for pipe in [*idle, *left]:
            if not pipe.ended(_END_SECONDS if pipe in idle else 0.0):
                pipe.outlive()

    def _send(self, *request: object) -> HelperPipe:
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            try:
                idle.send(*request)
            except OSError:
                self.leave(idle)
            else:
                return idle
        pipe = HelperPipe(self._sysfs)
        try:
            pipe.send(*request)
        except OSError:
            self.leave(pipe)
            raise
        return pipe

    def _keep(self, pipe: HelperPipe) -> None:
        with self._lock:
            if len(self._idle) < _KEPT and not self._closed:
                self._idle.append(pipe)
                return
        self.leave(pipe)


def _acts(writes: Sequence[Write]) -> list[object]:
    fields: list[object] = []
    for one in writes:
        if "\t" in one.path or "\n" in one.path:
            raise OSError(errno.EINVAL, "not a path of sysfs")
        fields += [one.path, one.text.encode().hex(), one.inode or 0]
    return fields
