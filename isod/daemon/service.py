"""The service manager: sockets it hands over, and what it is told. Silent without one."""

from __future__ import annotations

import os
import socket

from systemd import daemon  # type: ignore[attr-defined]


def listening_socket() -> socket.socket | None:
    """The socket that the service manager listens on for us, if it does (sd_listen_fds(3))."""
    for name, descriptor in _handed().items():
        if name == "isod.socket":
            return socket.socket(fileno=descriptor)
    return None


def _handed() -> dict[str, int]:
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    return {name: descriptor for descriptor, name in daemon.listen_fds_with_names().items()}


def ready() -> None:
    daemon.notify("READY=1")


def stopping() -> None:
    daemon.notify("STOPPING=1")
