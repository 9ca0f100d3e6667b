"""Every example of section 7 of the JSON-RPC 2.0 specification, against a server that knows the
specification's methods.

``expected`` is what the specification prints, unless ``ours`` says what this protocol answers
instead; then ``why`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from isod.wire import jsonrpc, strict_json
from isod.wire.jsonrpc import Code, Invalid, Notification, Request

NAMED_ONLY = "parameters are named in this protocol: an array is answered by invalid params"
KNOWS_ID = "the id could be read, so the caller is told which of its calls was wrong"


@dataclass(frozen=True)
class Example:
    name: str
    sent: str
    expected: str | None
    ours: str | None = None
    why: str | None = None


def _refused(code: int, message: str, identity: str = "null") -> str:
    return (
        f'{{"jsonrpc": "2.0", "error": {{"code": {code}, "message": "{message}"}},'
        f' "id": {identity}}}'
    )


_INVALID = _refused(-32600, "Invalid Request")

EXAMPLES = [
    Example(
        "positional parameters",
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        '{"jsonrpc": "2.0", "result": 19, "id": 1}',
        _refused(-32602, "Invalid params", "1"),
        NAMED_ONLY,
    ),
    Example(
        "positional parameters, the other way round",
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        '{"jsonrpc": "2.0", "result": -19, "id": 2}',
        _refused(-32602, "Invalid params", "2"),
        NAMED_ONLY,
    ),
    Example(
        "named parameters",
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42},'
        ' "id": 3}',
        '{"jsonrpc": "2.0", "result": 19, "id": 3}',
    ),
    Example(
        "named parameters, the other way round",
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23},'
        ' "id": 4}',
        '{"jsonrpc": "2.0", "result": 19, "id": 4}',
    ),
    Example(
        "a notification", '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None
    ),
    Example("a notification of nothing", '{"jsonrpc": "2.0", "method": "foobar"}', None),
    Example(
        "a method that does not exist",
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        _refused(-32601, "Method not found", '"1"'),
    ),
    Example(
        "invalid JSON",
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        _refused(-32700, "Parse error"),
    ),
    Example(
        "an invalid request object",
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        _INVALID,
    ),
    Example(
        "a batch, invalid JSON",
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method"]',
        _refused(-32700, "Parse error"),
    ),
    Example("an empty array", "[]", _INVALID),
    Example("an invalid batch, not empty", "[1]", f"[{_INVALID}]"),
    Example("an invalid batch", "[1,2,3]", f"[{_INVALID},{_INVALID},{_INVALID}]"),
    Example(
        "a batch",
        """[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]""",
        f"""[
        {{"jsonrpc": "2.0", "result": 7, "id": "1"}},
        {{"jsonrpc": "2.0", "result": 19, "id": "2"}},
        {_INVALID},
        {_refused(-32601, "Method not found", '"5"')},
        {{"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}}
        ]""",
        f"""[
        {_refused(-32602, "Invalid params", '"1"')},
        {_refused(-32602, "Invalid params", '"2"')},
        {_INVALID},
        {_refused(-32601, "Method not found", '"5"')},
        {{"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}}
        ]""",
        NAMED_ONLY,
    ),
    Example(
        "a batch of notifications",
        '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        None,
    ),
]

# Not of section 7: what sections 4 and 5 say in words, and where this protocol is narrower.
SECTIONS_4_AND_5 = [
    Example(
        "a batch with named parameters",
        '[{"jsonrpc":"2.0","method":"subtract","params":{"minuend":3,"subtrahend":2},"id":1},'
        '{"jsonrpc":"2.0","method":"get_data","id":null}]',
        '[{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","result":["hello",5],"id":null}]',
    ),
    Example(
        "an id of null is answered",
        '{"jsonrpc": "2.0", "method": "get_data", "id": null}',
        '{"jsonrpc": "2.0", "result": ["hello", 5], "id": null}',
    ),
    Example(
        "an id with a fraction",
        '{"jsonrpc": "2.0", "method": "get_data", "id": 1.0}',
        '{"jsonrpc": "2.0", "result": ["hello", 5], "id": 1.0}',
        _INVALID,
        "fractions SHOULD NOT be used; they do not compare reliably, so they are refused",
    ),
    Example("an id that is true", '{"jsonrpc": "2.0", "method": "get_data", "id": true}', _INVALID),
    Example("an id that is a list", '{"jsonrpc":"2.0","method":"get_data","id":[1]}', _INVALID),
    Example(
        "version 1 of JSON-RPC",
        '{"method": "get_data", "id": 7}',
        _INVALID,
        _refused(-32600, "Invalid Request", "7"),
        KNOWS_ID,
    ),
    Example(
        "parameters of null",
        '{"jsonrpc": "2.0", "method": "get_data", "params": null, "id": 7}',
        _INVALID,
        _refused(-32600, "Invalid Request", "7"),
        KNOWS_ID,
    ),
    Example(
        "a misspelt member",
        '{"jsonrpc": "2.0", "method": "get_data", "parms": {}, "id": 7}',
        '{"jsonrpc": "2.0", "result": ["hello", 5], "id": 7}',
        _refused(-32600, "Invalid Request", "7"),
        "the specification is silent; nothing a client wrote is ignored in silence here",
    ),
    Example(
        "parameters that the method does not take",
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 1}, "id": 7}',
        _refused(-32602, "Invalid params", "7"),
    ),
]


def _subtract(params: Mapping[str, object]) -> object:
    minuend, subtrahend = params["minuend"], params["subtrahend"]
    assert isinstance(minuend, int)
    assert isinstance(subtrahend, int)
    return minuend - subtrahend


METHODS: dict[str, Callable[[Mapping[str, object]], object]] = {
    "subtract": _subtract,
    "get_data": lambda params: ["hello", 5],
    "update": lambda params: None,
    "notify_hello": lambda params: None,
    "notify_sum": lambda params: None,
}


def _run(entry: Request) -> bytes:
    method = METHODS.get(entry.method)
    if method is None:
        return jsonrpc.error(entry.id, Code.method_not_found)
    try:
        return jsonrpc.result(entry.id, method(entry.params))
    except KeyError as missing:
        return jsonrpc.error(entry.id, Code.invalid_params, f"{missing} is missing")


def serve(packet: bytes) -> bytes | None:
    """The smallest server that these functions make."""
    incoming = jsonrpc.read(packet)
    responses = []
    for entry in incoming.entries:
        match entry:
            case Invalid():
                responses.append((entry.id, entry.response))
            case Request():
                responses.append((entry.id, _run(entry)))
            case Notification():
                continue
    if incoming.batch:
        return jsonrpc.join(responses)
    return responses[0][1] if responses else None


def _comparable(document: object) -> object:
    """Without ``data``, which the specification leaves to the server."""
    if isinstance(document, list):
        return [_comparable(part) for part in document]
    assert isinstance(document, dict)
    if "error" in document:
        document["error"].pop("data", None)
    return document


@pytest.mark.parametrize("case", EXAMPLES + SECTIONS_4_AND_5, ids=lambda case: case.name)
def test_example(case: Example) -> None:
    answer = serve(case.sent.encode())
    expected = case.expected if case.ours is None else case.ours
    if expected is None:
        assert answer is None
        return
    assert answer is not None
    assert _comparable(strict_json.loads(answer)) == strict_json.loads(expected.encode())


@pytest.mark.parametrize("case", EXAMPLES + SECTIONS_4_AND_5, ids=lambda case: case.name)
def test_every_difference_has_a_reason(case: Example) -> None:
    assert (case.ours is None) == (case.why is None)
    assert case.ours is None or case.ours != case.expected


def test_section_7_is_complete() -> None:
    assert len(EXAMPLES) == 15
