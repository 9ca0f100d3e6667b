"""The service manager: sockets it hands over, and what it is told. Silent without one."""

from __future__ import annotations

import os
import socket

from systemd import daemon  # type: ignore[attr-defined]


def listening_sockets() -> dict[str, socket.socket]:
    """The sockets that the service manager listens on for us, by the names of their units
    (sd_listen_fds_with_names(3)). Call once: the caller owns them."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    handed = daemon.listen_fds_with_names().items()
    return {name: socket.socket(fileno=descriptor) for descriptor, name in handed}


def ready() -> None:
    daemon.notify("READY=1")


def stopping() -> None:
    daemon.notify("STOPPING=1")
