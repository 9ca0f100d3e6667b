"""One who floods the daemon: ``python -m tests.bench.attacker KIND SOCKET UID CPU``, until killed.

``nobody`` keeps its CPU busy and leaves isod alone: what is left of a ratio then is the machine's.
``fds`` sends as many as the kernel takes with every packet; ``unread`` asks and never reads;
``asking`` asks and reads, over many connections, as fast as it is answered;
``silent`` connects a thousand times, as twenty users, and says nothing; ``over-long`` sends packets
that are none. Who is thrown out comes again at once.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from isod.model.request import PACKET_BYTES
from isod.wire import packet

SILENT = 1000
_USERS = 20
_FDS = 250
_MANY = 32
_AHEAD = 4
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.EPERM, errno.ETOOMANYREFS, errno.EAGAIN}


def connected(path: str) -> socket.socket:
    """Waits while the listener's queue is full: everybody does."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(path)
    return line


def send_fds(path: str, _: int) -> None:
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "host.info"}).encode()
    near, far = os.pipe()
    try:
        _until_gone(path, call, [near] * _FDS)
    finally:
        packet.close_all((near, far))


def send_over_long(path: str, _: int) -> None:
    _until_gone(path, b" " * (PACKET_BYTES + 1), [])


def _until_gone(path: str, data: bytes, fds: list[int]) -> None:
    with connected(path) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        while True:
            try:
                line.sendmsg([data], packet.ancillary(fds), socket.MSG_NOSIGNAL)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                return


def never_read(path: str, _: int) -> None:
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "host.devices"}).encode()
    with connected(path) as line, suppress(OSError):
        while True:
            line.send(call)


def ask_and_ask(path: str, _: int) -> None:
    """Over as many connections as one user may have, a few calls ahead, and reads every answer."""
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "host.info"}).encode()
    lines = [connected(path) for _ in range(_MANY)]
    for line in lines:
        for _ in range(_AHEAD):
            line.send(call)
    while True:
        for line in lines:
            line.recv(PACKET_BYTES)
            line.send(call)


def be_silent(path: str, uid: int) -> None:
    """A child for each user, with its share of connections; again when one was thrown out."""
    for user in range(_USERS):
        if os.fork() == 0:
            become(uid + user)
            while True:
                lines = [connected(path) for _ in range(SILENT // _USERS)]
                poll = select.poll()
                for line in lines:
                    poll.register(line, select.POLLHUP)
                poll.poll()
                for line in lines:
                    line.close()
    while True:
        os.wait()


def spin(_path: str, _uid: int) -> None:
    while True:
        pass


KINDS: dict[str, Callable[[str, int], None]] = {
    "nobody": spin,
    "fds": send_fds,
    "unread": never_read,
    "asking": ask_and_ask,
    "silent": be_silent,
    "over-long": send_over_long,
}

# Who breaks rules, or takes what is given and gives nothing back: nobody may feel them.
UNLAWFUL = ("fds", "unread", "silent", "over-long")


def users(kind: str) -> int:
    """As how many users one of a kind comes."""
    return {"nobody": 0, "silent": _USERS}.get(kind, 1)


def become(uid: int) -> None:
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def main() -> None:
    kind, path, uid, cpu = sys.argv[1:]
    os.sched_setaffinity(0, {int(cpu)})
    os.setgroups([])
    if kind != "silent":
        become(int(uid))
    while True:
        KINDS[kind](path, int(uid))


if __name__ == "__main__":
    main()
