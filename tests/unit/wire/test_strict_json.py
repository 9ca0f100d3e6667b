"""The JSON reader takes what RFC 8259 states, refuses the rest, and raises JsonError only."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isod.model.address import Address
from isod.model.reply import LeaseOwner
from isod.model.request import PACKET_BYTES
from isod.wire.strict_json import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER, JsonError, dumps, loads

_REFUSED = {
    "empty": b"",
    "blank": b" \n",
    "two documents": b"{}{}",
    "a comma too many": b"[1,]",
    "a comment": b"[1] // one",
    "single quotes": b"{'a':1}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "a stray byte": b'"\xff"',
    "an overlong form": b'"\xc0\xaf"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "past the last code point": b'"\xf4\x90\x80\x80"',
    "a lone surrogate": rb'"\ud800"',
    "a lone surrogate as a key": rb'{"\uDFFF":1}',
    "a lone surrogate, deep": rb'{"a":[{"b":"x\udc80"}]}',
    "surrogates in the wrong order": rb'"\udc00\ud800"',
    "a duplicate key": b'{"a":1,"a":1}',
    "a duplicate key, escaped": rb'{"a":1,"\u0061":2}',
    "a duplicate key, deep": b'[{"x":{"a":1,"b":2,"a":3}}]',
    "NaN": b"NaN",
    "Infinity": b"[Infinity]",
    "-Infinity": b'{"a":-Infinity}',
    "1e999": b"1e999",
    "-1e999": b"[-1e999]",
    "a huge integer": b"1" * 5000,
    "an integer over 64 bits": str(MAX_INTEGER + 1).encode(),
    "an integer under 64 bits": str(MIN_INTEGER - 1).encode(),
    "a leading zero": b"01",
    "a plus sign": b"+1",
    "a hexadecimal number": b"0x10",
    "a digit of another script": "\u0661".encode(),
    "a control character": b'"\n"',
    "an unknown escape": rb'"\x41"',
    "an unterminated string": b'"abc',
    "an unterminated escape": b'"abc\\',
    "too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "too deep, objects": b'{"a":' * 33 + b"1" + b"}" * 33,
    "too deep behind many that are not": b"[" + b"[]," * 100 + b"[" * 33 + b"]" * 34,
    "too deep and never closed": b"[" * PACKET_BYTES,
    "brackets that do not match": b"[}" * 50,
    "brackets behind a string that never ends": b'["' + b"[" * 60000,
    "quotes that never end": b'"' + b'\\"' * 32000,
    "over-long": b'"' + b"a" * PACKET_BYTES + b'"',
}


@pytest.mark.parametrize("data", _REFUSED.values(), ids=_REFUSED.keys())
def test_refuses(data: bytes) -> None:
    with pytest.raises(JsonError):
        loads(data)


_TAKEN: dict[str, tuple[bytes, object]] = {
    "white space around": (b" \t\r\n{ } ", {}),
    "a pair of surrogates": (rb'"\ud83d\ude00"', "\U0001f600"),
    "an escaped backslash before u": (rb'"\\ud800"', "\\ud800"),
    "NUL, escaped": (rb'"\u0000"', "\0"),
    "the largest integer": (str(MAX_INTEGER).encode(), MAX_INTEGER),
    "the smallest integer": (str(MIN_INTEGER).encode(), MIN_INTEGER),
    "a float": (b"-1.5e3", -1500.0),
    "a float of many digits": (b"0." + b"1" * 1000, 0.1111111111111111),
    "constants": (b"[true,false,null]", [True, False, None]),
    "brackets in strings": (b'["' + b"[{" * 100 + b'\\"[["]', ["[{" * 100 + '"[[']),
    "wide": (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
    "as deep as allowed": (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    "deep and wide": (b"[" + b",".join([b"[" * 31 + b"]" * 31] * 50) + b"]", None),
    "as long as allowed": (b'"' + b"a" * (PACKET_BYTES - 2) + b'"', "a" * (PACKET_BYTES - 2)),
}


@pytest.mark.parametrize(("data", "value"), _TAKEN.values(), ids=_TAKEN.keys())
def test_takes(data: bytes, value: object) -> None:
    assert loads(data) == (json.loads(data) if value is None else value)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXT, inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(_VALUES)
def test_what_is_written_reads_the_same(value: object) -> None:
    assert loads(dumps(value)) == value


@settings(deadline=None)
@given(_VALUES)
def test_agrees_with_the_standard_parser(value: object) -> None:
    text = json.dumps(value, indent=1).encode()
    assert loads(text) == json.loads(text)


_PIECES = st.sampled_from(
    [
        b"dc00",
        b"e999",
        b"NaN",
        b"Infinity",
        b"true",
        b"null",
        b'"a":',
        *[bytes([character]) for character in b'[]{}"\\,:1-0 \xff'],
        b"\xef\xbb\xbf",
        b"\\u",
        b"d800",
    ]
)
_SOUP = st.lists(_PIECES | st.binary(max_size=3), max_size=60).map(b"".join)


@settings(deadline=None)
@given(st.binary(max_size=200) | _SOUP)
@example(b"\\")
def test_any_bytes_raise_nothing_but_the_declared_error(data: bytes) -> None:
    try:
        value = loads(data)
    except JsonError:
        return
    assert loads(dumps(value)) == value
    assert json.loads(data) == value


@settings(deadline=None)
@given(st.data())
def test_a_damaged_document_raises_nothing_but_the_declared_error(data: st.DataObject) -> None:
    document = bytearray(dumps(data.draw(_VALUES)))
    place = data.draw(st.integers(0, len(document) - 1))
    document[place : place + 1] = data.draw(st.binary(max_size=3))
    try:
        loads(bytes(document))
    except JsonError:
        return


@settings(deadline=None)
@given(st.text(alphabet="[]{}", min_size=1, max_size=200))
def test_depth_is_judged_as_a_parser_would(brackets: str) -> None:
    text = brackets.encode()
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    depth = deepest = 0
    for character in brackets:
        depth += 1 if character in "[{" else -1
        deepest = max(deepest, depth)
    if expected is None or deepest > MAX_DEPTH:
        with pytest.raises(JsonError):
            loads(text)
    else:
        assert loads(text) == expected


def test_writes_compact_utf8() -> None:
    assert dumps({"a": [1, "ü", None]}) == '{"a":[1,"ü",null]}'.encode()


def test_writes_addresses_and_models() -> None:
    owner = LeaseOwner(uid=1, pid=2)
    assert dumps({"devices": (Address.pci("0000:01:00.0"),)}) == b'{"devices":["pci:0000:01:00.0"]}'
    assert loads(dumps([owner])) == [{"uid": 1, "pid": 2, "user": None, "unit": None}]


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], "\ud800", {"\udfff": 1}])
def test_does_not_write_what_is_no_json(value: object) -> None:
    with pytest.raises(JsonError):
        dumps(value)


def test_a_value_without_a_form_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="set"):
        dumps({1, 2})
