"""JSON as RFC 8259 states it and nothing beyond, for bytes that strangers wrote.

The standard parser takes duplicate keys (the last wins, so two readers may see two requests), NaN,
UTF-16, lone surrogates, any depth and integers of any length. Here each is refused, and the only
exception that bytes can cause is JsonError. In the ordinary case this costs little more than
``json.loads``: what could be expensive is looked for with searches that run at the speed of C.
"""

from __future__ import annotations

import json
import re
from math import isfinite

from pydantic import BaseModel

from isod.model.address import Address
from isod.model.request import PACKET_BYTES

MAX_DEPTH = 32
MAX_INTEGER = 2**64 - 1
MIN_INTEGER = -(2**63)
_INTEGER_LENGTH = 20

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class JsonError(ValueError):
    """The bytes are not the JSON that the protocol allows, or a value has no such form."""


def loads(data: bytes, *, limit: int = PACKET_BYTES) -> object:
    """Parse one JSON text of at most ``limit`` bytes. Raises JsonError and nothing else."""
    if len(data) > limit:
        raise JsonError(f"longer than {limit} bytes")
    _check_depth(data)
    try:
        value: object = _DECODER.decode(data.decode("utf-8"))
        if rb"\u" in data:
            _ENCODER.encode(value).encode("utf-8")
    except JsonError:
        raise
    except UnicodeEncodeError:
        raise JsonError("a lone surrogate") from None
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at character {error.pos}") from None
    return value


def dumps(value: object) -> bytes:
    """Write compact UTF-8. Addresses and models may stand anywhere in the value.

    Raises JsonError for NaN, infinities and lone surrogates.
    """
    try:
        return _ENCODER.encode(value).encode("utf-8")
    except ValueError as error:
        raise JsonError(f"cannot be written as JSON: {error}") from None


def _check_depth(data: bytes) -> None:
    """Refuse what is nested deeper than MAX_DEPTH, before a recursive parser sees it.

    Few brackets cannot be nested deeply. Of more, with strings taken out, each round removes the
    innermost pairs; whatever is left after MAX_DEPTH rounds is too deep, or unbalanced and thereby
    no JSON.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", data).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise JsonError(f"nested deeper than {MAX_DEPTH}, or unbalanced")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonError("a duplicate key")
    return members


def _constant(text: str) -> object:
    raise JsonError(f"{text} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise JsonError("a number too large")
    return number


def _integer(text: str) -> int:
    # The length first: int() takes quadratic time.
    if len(text) > _INTEGER_LENGTH:
        raise JsonError("an integer too large")
    number = int(text)
    if not MIN_INTEGER <= number <= MAX_INTEGER:
        raise JsonError("an integer too large")
    return number


def _plain(value: object) -> object:
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=_constant,
    parse_float=_float,
    parse_int=_integer,
)
_ENCODER = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
)
