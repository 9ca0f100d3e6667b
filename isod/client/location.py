"""Where the daemon listens."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ConnectionLost

SOCKET = "/run/isod/isod.sock"
VARIABLE = "ISOD_SOCKET"


def socket_path(path: str | os.PathLike[str] | None = None) -> Path:
    """The path given, else that of ISOD_SOCKET, else /run/isod/isod.sock."""
    return Path(path or os.environ.get(VARIABLE) or SOCKET)


def cannot_connect(path: Path, error: OSError) -> ConnectionLost:
    """Say it with the path, and what it usually means."""
    hint = {
        FileNotFoundError: "isod is not running, or listens elsewhere",
        ConnectionRefusedError: "isod is not running",
        PermissionError: "the socket's mode or folder keeps you out",
    }.get(type(error))
    said = f"cannot connect to {path}: {error.strerror or error}"
    return ConnectionLost(f"{said} ({hint})" if hint else said)
