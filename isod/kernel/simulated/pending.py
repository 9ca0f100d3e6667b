"""The port's ``Pending``: a fence that is done, or one that a process waits for."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import isod
from isod.kernel.refusal import refused_by_kernel
from isod.model.step import StepResult

from .host import Host


class FinishedFence:
    """Nothing was open: the unbind returned at once."""

    def __init__(self) -> None:
        self._descriptor, written = os.pipe2(os.O_CLOEXEC)
        os.write(written, b".")
        os.close(written)

    def fileno(self) -> int:
        return self._descriptor

    def finish(self) -> StepResult:
        self.abandon()
        return StepResult()

    def abandon(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class WaitingFence:
    """A process waits for the last close. It outlives its parent, and holds no fd of it."""

    def __init__(self, host: Host, name: str, left: Callable[[int], None]) -> None:
        """``left`` gets the process's id when it was abandoned, to reap it later.

        Raises OSError when no process can be had.
        """
        self._name = name
        self._left = left
        self._descriptor, written = os.pipe2(os.O_CLOEXEC)
        arguments = [sys.executable, "-S", "-m", f"{__package__}.fence", str(host.tree.root), name]
        home = str(Path(isod.__file__).parent.parent)
        try:
            self.process: int | None = os.posix_spawn(
                sys.executable,
                arguments,
                {"PYTHONPATH": home, "PYTHONDONTWRITEBYTECODE": "1"},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, written, 1),
                    (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        except OSError:
            os.close(self._descriptor)
            raise
        finally:
            os.close(written)

    def fileno(self) -> int:
        return self._descriptor

    def finish(self) -> StepResult:
        """Raises RefusedError when the process ended early: nothing is proven then."""
        done = os.read(self._descriptor, 1)
        self._close()
        if self.process is not None:
            os.waitpid(self.process, 0)
            self.process = None
        if not done:
            what = f"the fence of {self._name} ended without a result"
            raise refused_by_kernel(what, errno.EIO)
        return StepResult()

    def abandon(self) -> None:
        self._close()
        if self.process is not None:
            self._left(self.process)
            self.process = None

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
