"""Connecting to the daemon: sockets, and what it means when that fails."""

from __future__ import annotations

import socket
from pathlib import Path

from .errors import ConnectionLost
from .location import cannot_connect

# A daemon that is starting: no socket yet, nobody at it, or nobody who comes round to accept.
_PASSING = (FileNotFoundError, ConnectionRefusedError, BlockingIOError, ConnectionResetError)


class NotYet(ConnectionLost):
    """Nobody is there now, which may change in a moment."""


def new_socket() -> socket.socket:
    """Close-on-exec, as all that Python opens."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def connect_now(path: Path) -> socket.socket:
    """A connected non-blocking socket, without waiting. Raises ConnectionLost: NotYet, or worse."""
    sock = new_socket()
    try:
        sock.setblocking(False)
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        lost = cannot_connect(path, error)
        raise NotYet(str(lost)) if isinstance(error, _PASSING) else lost from error
    except BaseException:
        sock.close()
        raise
    return sock
