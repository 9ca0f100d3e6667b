"""What can go wrong for a client: isod refuses, the connection is lost, or somebody breaks the
protocol. Names say what happened, as those of trio and the standard library do."""

from __future__ import annotations

from collections.abc import Mapping

from isod.model.reason import Reason
from isod.wire.response import Failure


class ClientError(Exception):
    """The base of all of them."""


class ConnectionLost(ClientError):  # noqa: N818
    """There is no connection, or none any more. Leases and their fds do not notice.

    ``unknown``: a call was under way, and whether it took effect is not known. Without, nothing
    was done.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class ProtocolError(ClientError):
    """The other end does not speak the protocol, or its packet could not be taken (too few fds
    left, for instance). The connection was closed, and every fd of the packet."""


class EventsLost(ClientError):  # noqa: N818
    """Events were left out, and their subscription is over. Subscribe again ``since=error.seq``.

    With ``gone`` what was left out cannot be had in that way either: look at leases and devices
    anew. Without, it may still be had.
    """

    def __init__(self, seq: int, note: str, *, gone: bool) -> None:
        super().__init__(f"events were left out: {note}")
        self.seq = seq
        self.gone = gone


class CallError(ClientError):
    """The call was answered by an error. Those of JSON-RPC itself (negative codes) mean that the
    caller made a mistake or the daemon has a fault; isod's own are Refused.

    ``repeated``: the call had been made before, on a connection that was lost: a release that is
    answered by ``not_found`` was done then.
    """

    def __init__(self, code: int, message: str, data: Mapping[str, object]) -> None:
        detail = data.get("detail")
        said = message or f"error {code}, without a word"
        super().__init__(f"{said}: {detail}" if detail else said)
        self.code = code
        self.message = message
        self.data = data
        self.repeated = False


class Refused(CallError):  # noqa: N818
    """isod refuses: why, what to do about it, and whether trying again can help.

    ``reason`` is None for one that this version of the library does not know yet;
    ``data["reason"]`` has its name.
    """

    def __init__(self, code: int, message: str, data: Mapping[str, object]) -> None:
        super().__init__(code, message, data)
        self.reason = Reason.__members__.get(str(data.get("reason")))
        self.hint = str(data.get("hint", ""))
        self.fixed_by = str(data.get("fixed_by", ""))
        self.retry = data.get("retry") is True


def error_of(failure: Failure) -> CallError:
    """The exception for an error response."""
    kind = Refused if failure.code > 0 else CallError
    return kind(failure.code, failure.message, failure.data)
