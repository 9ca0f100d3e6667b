"""The service manager: what it hands over, what it keeps for us, and what it is told.

sd_listen_fds(3), sd_notify(3). Silent without one. systemd-python lacks two things that are spoken
here by hand, both plain text on the same socket: the watchdog's interval (WATCHDOG_USEC) and the
barrier.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import trio
from systemd import daemon  # type: ignore[attr-defined]

BARRIER_SECONDS = 5.0
_HOLD = "hold-"


@dataclass(slots=True)
class Handed:
    """What came with the start, owned by the caller: listening sockets by the names of their
    units, the read ends of holds by lease, and the names of what nobody knows (closed already)."""

    sockets: dict[str, socket.socket] = field(default_factory=dict)
    holds: dict[str, list[int]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Close what nobody took."""
        for listener in self.sockets.values():
            listener.close()
        for descriptors in self.holds.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self.sockets, self.holds = {}, {}


def take_handed() -> Handed:
    """What the service manager hands over (sd_listen_fds_with_names(3)). Call once.

    Each is looked at before it is believed: a hold is a pipe, and a socket listens for packets.
    """
    handed = Handed()
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return handed
    for descriptor, name in daemon.listen_fds_with_names().items():
        mode = os.fstat(descriptor).st_mode
        if name.startswith(_HOLD) and stat.S_ISFIFO(mode):
            handed.holds.setdefault(name.removeprefix(_HOLD), []).append(descriptor)
        elif stat.S_ISSOCK(mode) and daemon.is_socket(
            descriptor, socket.AF_UNIX, socket.SOCK_SEQPACKET, 1
        ):
            handed.sockets[name] = socket.socket(fileno=descriptor)
        else:
            os.close(descriptor)
            handed.unknown.append(name)
    return handed


def present() -> bool:
    """Whether there is a service manager to talk to."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def ready() -> None:
    _tell("READY=1")


def reloading() -> None:
    """The policy is read anew; READY follows. Type=notify-reload (253) wants the time as well."""
    _tell(f"RELOADING=1\nMONOTONIC_USEC={_now_usec()}")


def stopping() -> None:
    _tell("STOPPING=1")


def status(text: str) -> None:
    """One line for ``systemctl status``."""
    _tell(f"STATUS={text}")


def alive() -> None:
    """Feed the watchdog."""
    _tell("WATCHDOG=1")


def watchdog_seconds() -> float | None:
    """How often the watchdog wants to be fed, at the least; None: there is none
    (sd_watchdog_enabled(3))."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(KeyError, ValueError):
        seconds = int(os.environ["WATCHDOG_USEC"]) / 1e6
        return seconds if seconds > 0 else None
    return None


async def keep(lease: str, descriptor: int) -> bool:
    """Give the service manager a copy of a hold's read end, and wait until it has it.

    It drops the copy by itself once the other end is closed. False: it did not answer, or there
    is none; then the lease does not outlive this process, no more.
    """
    if not present():
        return False
    return await trio.to_thread.run_sync(_keep, lease, descriptor)


async def let_go(lease: str) -> None:
    """Have the service manager forget a lease's holds."""
    if present():
        await trio.to_thread.run_sync(discard_hold, lease)


def discard_hold(lease: str) -> None:
    """Have the service manager forget the holds of a lease that does not go on."""
    discard(f"{_HOLD}{lease}")


def discard(name: str) -> None:
    """Have the service manager forget something that nobody knows."""
    _tell(f"FDSTOREREMOVE=1\nFDNAME={name}")


def _keep(lease: str, descriptor: int) -> bool:
    text = f"FDSTORE=1\nFDNAME={_HOLD}{lease}"
    # Messages of one sender are dealt with in order, so the barrier says that the fd is stored.
    try:
        return _tell(text, descriptor) and _barrier()
    except OSError:  # no pipe for the barrier
        return False


def _tell(text: str, *descriptors: int) -> bool:
    """Whether the service manager was told. Where that cannot be (no socket to be had, nobody at
    the other end) nobody here can help it; it sees for itself whom it does not hear of."""
    try:
        if descriptors:
            return bool(daemon.notify(text, fds=list(descriptors)))
        return bool(daemon.notify(text))
    except OSError:
        return False


def _barrier() -> bool:
    """``BARRIER=1`` with the end of a pipe: it is closed when all before it has been dealt with."""
    with _pipe() as (watched, given):
        sent = _tell("BARRIER=1", given[0])
        os.close(given.pop())
        return sent and _hangs_up(watched)


@contextmanager
def _pipe() -> Iterator[tuple[int, list[int]]]:
    watched, given = os.pipe2(os.O_CLOEXEC)
    left = [given]
    try:
        yield watched, left
    finally:
        for descriptor in (watched, *left):
            os.close(descriptor)


def _hangs_up(descriptor: int) -> bool:

    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(BARRIER_SECONDS * 1000))


def _now_usec() -> int:

    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
