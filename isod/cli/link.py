"""The way to the daemon, and what is said when it refuses or cannot be reached."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.text import Text

from isod.client.blocking import Client, Lease
from isod.client.errors import CallError, ClientError, ConnectionLost, Refused
from isod.client.location import socket_path
from isod.client.reconnection import SECONDS, OnLost

from .failure import Ended, ExitCode
from .output import show, show_json
from .screen.refusal import refusal_screen
from .screen.terminal import escape


@dataclass(frozen=True, slots=True)
class Link:
    """Where the daemon is, and what time it is."""

    socket: Path | None
    now: Callable[[], float] = time.time

    @property
    def administrators(self) -> Link:
        """The way to the admin socket: beside the ordinary one, in a folder that is root's."""
        beside = socket_path(self.socket).parent / "admin" / "admin.sock"
        return Link(Path(os.environ.get("ISOD_ADMIN_SOCKET") or beside), self.now)

    @contextmanager
    def connect(
        self, *, as_json: bool, reconnect: float = SECONDS, on_lost: OnLost | None = None
    ) -> Iterator[Client]:
        """A connection. Refusals, and its loss for good, are reported and end the command."""
        try:
            with Client.connect(self.socket, reconnect=reconnect, on_lost=on_lost) as client:
                yield client
        except Refused as error:
            if as_json:
                _show_error(error.code, error.message, error.data)
            else:
                show(refusal_screen(error.message, error.data, self.now()), on_stderr=True)
            raise Ended(ExitCode.refused) from error
        except CallError as error:
            if as_json:
                _show_error(error.code, error.message, error.data)
                raise Ended(ExitCode.error) from error
            fail(str(error), as_json=False)
        except ConnectionLost as error:
            fail(str(error), as_json=as_json, reason="unreachable", code=ExitCode.unreachable)
        except ClientError as error:
            fail(str(error), as_json=as_json, reason="protocol")


def require_files(lease: Lease, *, as_json: bool) -> None:
    """End the command if the lease came without files: they went to whoever asked first."""
    if not lease.files and not (lease.info.anchor != "hold" and lease.info.hand_over == "nodes"):
        fail(
            f"lease {lease.id} was granted for this key before, and its files went out then",
            as_json=as_json,
        )


def fail(
    message: str, *, as_json: bool, reason: str = "failed", code: ExitCode = ExitCode.error
) -> NoReturn:
    """Say what went wrong on this side, and end the command."""
    if as_json:
        _show_error(None, message, {"reason": reason})
    else:
        show(Text(f"Error: {escape(message)}"), on_stderr=True)
    raise Ended(code)


def _show_error(code: int | None, message: str, data: Mapping[str, object]) -> None:
    show_json({"error": {"code": code, "message": message, "data": dict(data)}})
