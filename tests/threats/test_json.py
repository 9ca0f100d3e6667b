"""JSON that is none: each is answered by an error, on a connection that goes on."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.walk.stage import Stage

GOOD = b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1,"client":"x"}}'
_ABUSE = {
    "utf-16": b"\xff\xfe{\x00}\x00",
    "depth": b"[" * 60_000,
    "depth in params": b'{"jsonrpc":"2.0","id":1,"method":"hello","params":'
    + b'{"a":' * 10_000
    + b"1"
    + b"}" * 10_000
    + b"}",
    "twice": b'{"jsonrpc":"2.0","id":1,"id":2,"method":"host.info"}',
    "twice, escaped": rb'{"jsonrpc":"2.0","id":1,"method":"host.info","\u006dethod":"hello"}',
    "twice, deep": b'{"jsonrpc":"2.0","id":1,"method":"lease.explain","params":{"devices":'
    b'[{"address":"pci:0000:02:00.0","address":"pci:0000:01:00.0"}]}}',
    "1e999": GOOD.replace(b'"protocol":1', b'"protocol":1e999'),
    "NaN": b'{"jsonrpc":"2.0","id":NaN,"method":"host.info"}',
    "surrogate": GOOD.replace(b'"x"', b'"\\ud800"'),
    "long integer": GOOD.replace(b'"protocol":1', b'"protocol":' + b"9" * 5000),
    "not UTF-8": GOOD.replace(b'"x"', b'"\xff"'),
    "escape": b'{"jsonrpc":"2.0","id":1,"method":"\x1b[31m"}',
    "unknown member": GOOD.replace(b'"client"', b'"admin":true,"client"'),
    "true for a number": GOOD.replace(b'"protocol":1', b'"protocol":true'),
}


def refused(stage: Stage, data: bytes) -> None:
    """An error comes, and after it the connection is as good as ever."""
    with stage.line() as line:
        line.send(data)
        received = line.receive()
        assert received is not None
        assert received[0]["error"]["code"] < 0, received[0]
        assert "result" in line.ask("host.info")


@pytest.mark.parametrize("data", _ABUSE.values(), ids=_ABUSE.keys())
def test_json_abuse(stage: Stage, data: bytes) -> None:
    refused(stage, data)


_BAD = st.sampled_from(
    [
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"1" * 40,
        rb'"\udfff"',
        b'"\xc0\xaf"',
        b'{"a":1,"a":2}',
        rb'{"a":1,"\u0061":2}',
        b"[" * 40 + b"]" * 40,
        b'"\x1b"',
        b"01",
        b"nul",
    ]
)
_NAMES = st.sampled_from([b"a", b"params", b"id", b"method", b"jsonrpc", "ü".encode()])


def _hidden(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    listed = inner.map(lambda bad: b'[0,"[",' + bad + b"]")
    named = st.builds(lambda name, bad: b'{"x":null,"%b":%b}' % (name + b"1", bad), _NAMES, inner)
    return listed | named


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.recursive(_BAD, _hidden, max_leaves=6), st.sampled_from([b"params", b"id", b"method"]))
def test_json_abuse_wherever_it_is_hidden(stage: Stage, bad: bytes, place: bytes) -> None:
    """At any depth, in any member, in a batch or alone."""
    whole = {b"jsonrpc": b'"2.0"', b"id": b"1", b"method": b'"host.info"', b"params": b"{}"}
    whole[place] = bad
    data = b"{" + b",".join(b'"%b":%b' % member for member in whole.items()) + b"}"
    refused(stage, data)
    with stage.line() as line:
        line.send(b"[" + data + b"," + GOOD + b"]")
        received = line.receive()
    assert received is not None
    assert "result" not in json.dumps(received[0]), "a good call beside it was served"
