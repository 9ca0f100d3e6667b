"""JSON-RPC 2.0 as pure functions: the server's side. ``read`` takes a packet apart, the builders
write what answers it.

Narrower than the specification, on purpose: parameters are named; an id is a string of at most 128
characters, an integer or null; members that the specification does not know are refused, since one
of them may be a misspelt ``params``; a batch has at most 64 entries, so that a packet of small
invalid entries is not answered by megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from pydantic import BaseModel

from isod.model.reason import Refusal
from isod.model.request import PACKET_BYTES

from . import strict_json
from .strict_json import JsonError

BATCH_ENTRIES = 64
ID_LENGTH = 128
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})

Id = int | str | None


class Code(IntEnum):
    """The error codes that JSON-RPC itself defines, and one from its range for servers.

    Application errors have positive codes: see ``model.reason``.
    """

    parse_error = -32700
    invalid_request = -32600
    method_not_found = -32601
    invalid_params = -32602
    internal_error = -32603
    reply_too_long = -32000

    @property
    def message(self) -> str:
        return _MESSAGES[self]


_MESSAGES = {
    Code.parse_error: "Parse error",
    Code.invalid_request: "Invalid Request",
    Code.method_not_found: "Method not found",
    Code.invalid_params: "Invalid params",
    Code.internal_error: "Internal error",
    Code.reply_too_long: "Reply too long for a packet",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A call that wants a reply with its id, used as given."""

    id: Id
    method: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that is never answered, not even when it fails."""

    method: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Invalid:
    """No call at all. ``response`` is the error to send."""

    id: Id
    response: bytes


Entry = Request | Notification | Invalid


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a packet holds, in order. Replies to a ``batch`` are joined by ``join``; when there is
    none, nothing is sent. ``entries`` is empty for a notification whose parameters have no names:
    it can neither be run nor answered."""

    entries: tuple[Entry, ...]
    batch: bool = False


def read(packet: bytes) -> Incoming:
    """Take a packet apart. Raises nothing: what is wrong comes back as Invalid."""
    try:
        document = strict_json.loads(packet)
    except JsonError as problem:
        return Incoming((_invalid(None, Code.parse_error, str(problem)),))
    if not isinstance(document, list):
        return Incoming(tuple(_read_entry(document)))
    if not document or len(document) > BATCH_ENTRIES:
        detail = f"a batch has 1 to {BATCH_ENTRIES} entries"
        return Incoming((_invalid(None, Code.invalid_request, detail),))
    return Incoming(tuple(entry for part in document for entry in _read_entry(part)), batch=True)


def _read_entry(document: object) -> Iterable[Entry]:
    """The entry that a JSON value is, if any."""
    if not isinstance(document, dict):
        return [_invalid(None, Code.invalid_request, "a request is an object")]
    wants_reply = "id" in document
    identity = document.get("id")
    if not is_id(identity):
        detail = f"id is a string of at most {ID_LENGTH} characters, an integer or null"
        return [_invalid(None, Code.invalid_request, detail)]
    problem = _problem(document)
    if problem is not None:
        return [_invalid(identity, Code.invalid_request, problem)]
    method: str = document["method"]
    params = document.get("params", {})
    if not isinstance(params, dict):
        named = _invalid(identity, Code.invalid_params, "parameters are named: params is an object")
        return [named] if wants_reply else []
    return [Request(identity, method, params) if wants_reply else Notification(method, params)]


def _problem(document: Mapping[str, object]) -> str | None:
    """What keeps an object from being a request."""
    if document.get("jsonrpc") != "2.0":
        return 'jsonrpc is not "2.0"'
    if not isinstance(document.get("method"), str):
        return "method is not a string"
    if not isinstance(document.get("params", {}), dict | list):
        return "params is not an object"
    if not document.keys() <= _MEMBERS:
        return "a member besides jsonrpc, id, method and params"
    return None


def is_id(value: object) -> bool:
    """Whether a value can be an id. True and 1.0 equal 1 in Python and are none."""
    if isinstance(value, str):
        return len(value) <= ID_LENGTH
    return value is None or type(value) is int


def _invalid(identity: Id, code: Code, detail: str) -> Invalid:
    return Invalid(identity, error(identity, code, detail))


def result(identity: Id, value: BaseModel | object) -> bytes:
    """A reply. A model is written by its own serializer, once."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (strict_json.dumps(identity), encode(value))


def error(identity: Id, code: Code, detail: str | None = None) -> bytes:
    """One of the standard errors; ``detail`` is a sentence for whoever wrote the client."""
    body: dict[str, object] = {"code": int(code), "message": code.message}
    if detail is not None:
        body["data"] = {"detail": detail}
    return _error(identity, body)


def refusal(identity: Id, refused: Refusal) -> bytes:
    """An application error: why isod refuses, who can fix it, and whether to try again."""
    return _error(identity, refusal_object(refused))


def refusal_object(refused: Refusal) -> dict[str, object]:
    """The ``error`` member of a refusal, which ``lease.explain`` shows as a result."""
    reason = refused.reason
    data = {
        "reason": reason.name,
        "hint": refused.hint or reason.hint,
        "retry": refused.may_pass,
        "fixed_by": refused.fixed_by or reason.fixed_by,
        **refused.details,
    }
    return {"code": reason.code, "message": refused.message, "data": data}


def notification(method: str, params: BaseModel | Mapping[str, object]) -> bytes:
    """A notification, such as an event."""
    head = strict_json.dumps(method)
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (head, encode(params))


def fit(identity: Id, response: bytes) -> bytes:
    """The response, or the error that says that it does not fit a packet."""
    if len(response) <= PACKET_BYTES:
        return response
    return error(identity, Code.reply_too_long, "ask for less, for instance a shorter page")


def join(responses: Iterable[tuple[Id, bytes]]) -> bytes | None:
    """The reply to a batch; None when there is nothing to be answered.

    It fits one packet: while it does not, the longest response becomes the error
    ``reply_too_long``. Those of a whole batch of the longest ids fit.
    """
    parts = list(responses)
    if not parts:
        return None
    bodies = [body for _, body in parts]
    excess = sum(map(len, bodies)) + len(bodies) + 1 - PACKET_BYTES
    for place in sorted(range(len(bodies)), key=lambda place: len(bodies[place]), reverse=True):
        if excess <= 0:
            break
        short = error(parts[place][0], Code.reply_too_long, "ask outside of a batch")
        excess -= len(bodies[place]) - len(short)
        bodies[place] = short
    return b"[%b]" % b",".join(bodies)


def encode(value: BaseModel | object) -> bytes:
    """Write a model or a plain value as JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump_json(by_alias=True).encode("utf-8")
    return strict_json.dumps(value)


def _error(identity: Id, body: Mapping[str, object]) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (
        strict_json.dumps(identity),
        strict_json.dumps(body),
    )
