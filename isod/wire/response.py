"""JSON-RPC 2.0 as pure functions: the client's side. ``request`` writes a call, ``read`` takes
apart what came back.

What a server adds in later versions is ignored here; what it must not leave out is missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from . import strict_json
from .jsonrpc import Id, Notification, is_id
from .strict_json import JsonError


class ResponseError(ValueError):
    """The packet is no JSON-RPC response."""


@dataclass(frozen=True, slots=True)
class Result:
    """A call went well."""

    id: Id
    value: object


@dataclass(frozen=True, slots=True)
class Failure:
    """A call went wrong. An ``id`` of None: the server cannot say which, or speaks of the
    connection as a whole."""

    id: Id
    code: int
    message: str
    data: Mapping[str, object]


Response = Result | Failure | Notification


def request(identity: Id, method: str, params: BaseModel | Mapping[str, object]) -> bytes:
    """Write a call. Members of a model that stand at their default are left out, so that a server
    that does not know them yet takes the call."""
    if isinstance(params, BaseModel):
        written = params.model_dump_json(by_alias=True, exclude_defaults=True).encode("utf-8")
    else:
        written = strict_json.dumps(params)
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (
        strict_json.dumps(identity),
        strict_json.dumps(method),
        written,
    )


def read(packet: bytes) -> tuple[Response, ...]:
    """Take a packet apart: one response, or those of a batch. Raises ResponseError."""
    try:
        document = strict_json.loads(packet)
    except JsonError as problem:
        raise ResponseError(str(problem)) from None
    parts = document if isinstance(document, list) else [document]
    return tuple(_read_one(part) for part in parts)


def _read_one(document: object) -> Response:
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
        raise ResponseError("not JSON-RPC 2.0")
    if "method" in document:
        return _read_notification(document)
    identity = document.get("id")
    if not is_id(identity):
        raise ResponseError("an id of a wrong type")
    if "error" in document and "result" not in document:
        return _read_failure(identity, document["error"])
    if "result" in document and "error" not in document:
        return Result(identity, document["result"])
    raise ResponseError("neither result nor error, or both")


def _read_notification(document: Mapping[str, object]) -> Notification:
    method, params = document["method"], document.get("params", {})
    if "id" in document or not isinstance(method, str) or not isinstance(params, dict):
        raise ResponseError("a call that is no notification")
    return Notification(method, params)


def _read_failure(identity: Id, error: object) -> Failure:
    if isinstance(error, dict):
        code, message, data = error.get("code"), error.get("message"), error.get("data", {})
        if type(code) is int and isinstance(message, str):
            return Failure(identity, code, message, data if isinstance(data, dict) else {})
    raise ResponseError("an error without code or message")
