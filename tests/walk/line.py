"""A connection without a client library: packets as they are, right or wrong."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from isod.wire import packet

_PATIENCE = 20.0


class Line:
    """Owns a socket. ``ask`` numbers its calls by itself."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(path))
        self.socket.settimeout(_PATIENCE)
        self._calls = 0

    def send(self, data: bytes | str, fds: list[int] | None = None) -> None:
        """Send a packet, whatever it holds."""
        raw = data.encode() if isinstance(data, str) else data
        self.socket.sendmsg([raw], packet.ancillary(fds or []), socket.MSG_NOSIGNAL)

    def call(self, method: str, identity: object = 1, **params: object) -> None:
        """Send a call without waiting for its answer."""
        request = {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}
        self.send(json.dumps(request))

    def notify(self, method: str, **params: object) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    def receive(self) -> tuple[Any, tuple[int, ...]] | None:
        """The next packet's JSON and fds; None at the end of the connection."""
        received = packet.receive(self.socket)
        return None if received is None else (json.loads(received.data), received.fds)

    def ask(self, method: str, **params: object) -> Any:
        """A call and its whole response; fds that come along are closed."""
        self._calls += 1
        self.call(method, self._calls, **params)
        received = self.receive()
        assert received is not None, f"the connection ended at {method}"
        response, fds = received
        packet.close_all(fds)
        assert response["id"] == self._calls
        return response

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
