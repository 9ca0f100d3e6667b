"""The way into a simulated kernel: one lock, taken for every call."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .binding import repair
from .closing import let_close
from .host import Host


@contextmanager
def entered(host: Host) -> Iterator[None]:
    """Hold the kernel's lock, so that a call is all or nothing to every other program.

    What a killed program left half-done is done first; files that were found closed have their
    effects before the lock is given up.
    """
    descriptor = os.open(host.tree.lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.fstat(descriptor).st_size:
                # A client without the right to repair leaves it to the next one who has it.
                with suppress(PermissionError):
                    repair(host)
            yield
        finally:
            let_close(host)
            # A fork elsewhere in this process may have a copy: closing alone may not unlock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
