"""Which open file an fd is: the way from a client's number to the simulated kernel's record."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from . import opens
from .entry import entered
from .failure import failure
from .host import Host, NotAHostError
from .records import RecordType

CAP_IPC_LOCK = 14
CAP_SYS_RAWIO = 17


@dataclass(slots=True)
class Called(Generic[RecordType]):
    """An fd that a call is made on, with the kernel entered."""

    host: Host
    descriptor: int
    name: str
    record: RecordType

    def save(self) -> None:
        """Keep what the call has changed in the record."""
        opens.write(self.descriptor, self.record)


@contextmanager
def called(descriptor: int, kind: type[RecordType]) -> Iterator[Called[RecordType]]:
    """Enter the kernel of the host that an fd belongs to.

    Raises EBADF for no fd, ENOTTY for one that does not take such calls.
    """
    host = host_of(descriptor)
    with entered(host):
        yield identify(host, descriptor, kind, errno.ENOTTY)


def identify(
    host: Host, descriptor: int, kind: type[RecordType], otherwise: int
) -> Called[RecordType]:
    """The open file of an fd, if it is of that kind; else raises the errno ``otherwise``."""
    path = opens.path_of(descriptor)
    if path.parent.parent == host.tree.opens:
        record = opens.read(descriptor)
        if isinstance(record, kind):
            return Called(host, descriptor, "/".join(path.parts[-2:]), record)
    raise failure(otherwise, f"not a {kind.kind} file")


def host_of(descriptor: int) -> Host:
    """The host whose file an fd is. Raises EBADF, ENOTTY."""
    path = opens.path_of(descriptor)
    try:
        return Host(path.parents[2])
    except (IndexError, NotAHostError):
        raise failure(errno.ENOTTY, "no file of a simulated host") from None


def capable(capability: int) -> bool:
    """Whether this thread has a capability in force."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False
