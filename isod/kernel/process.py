"""Processes, named so that none can be taken for another: by a pidfd, never by a bare pid.

A pid is given again as soon as its process is gone. A pidfd stays with its process for ever, and a
start time read while the pidfd is alive is its own.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from pathlib import Path

from isod.model.reason import Reason, RefusedError

_START_TIME_FIELD = 22


def start_time(pid: int) -> int | None:
    """A process's start time in clock ticks since boot; None when it is gone.

    The second field, the program's name, may hold blanks and parentheses: count from its end.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[_START_TIME_FIELD - 3])


def is_alive(pidfd: int) -> bool:
    """Whether a pidfd's process has not ended (pidfds are readable when it has, Linux 5.3)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def open_process(pid: int, started: int) -> int:
    """A pidfd of the process that had this pid and start time, the caller's to close.

    Raises RefusedError (gone) when that process is no more, whoever has its pid now.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise _gone(pid) from error
    try:
        # Read first, then look whether it still is: so what was read is its own.
        if start_time(pid) == started and is_alive(pidfd):
            return pidfd
    except BaseException:
        os.close(pidfd)
        raise
    os.close(pidfd)
    raise _gone(pid)


def end_process(pidfd: int, *, gently: bool) -> None:
    """Ask a process to end (SIGTERM), or end it (SIGKILL). One that is gone is no failure.

    Raises RefusedError (kernel) without the right to.
    """
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM if gently else signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise RefusedError(
            Reason.kernel,
            "isod may not end the process",
            hint="isod needs CAP_KILL for it: the drop-in end-clients.conf",
            errno=error.errno or errno.EPERM,
        ) from error


def _gone(pid: int) -> RefusedError:
    return RefusedError(Reason.gone, f"process {pid} is gone")
