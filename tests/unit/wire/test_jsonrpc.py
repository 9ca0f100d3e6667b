"""Reading never raises, replies are spliced and fit a packet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isod.model.address import Address
from isod.model.reason import Reason, Refusal
from isod.model.reply import DeviceInfo, DevicePage
from isod.model.request import PACKET_BYTES
from isod.wire import jsonrpc
from isod.wire.jsonrpc import BATCH_ENTRIES, ID_LENGTH, Code, Id, Invalid, Notification, Request


def _document(packet: bytes | None) -> Any:
    assert packet is not None
    return json.loads(packet)


def test_a_request() -> None:
    incoming = jsonrpc.read(b'{"jsonrpc":"2.0","id":"a","method":"hello","params":{"x":[1]}}')
    assert incoming == jsonrpc.Incoming((Request("a", "hello", {"x": [1]}),), batch=False)


def test_parameters_left_out_are_none_at_all() -> None:
    incoming = jsonrpc.read(b'{"jsonrpc":"2.0","id":0,"method":"host.info"}')
    assert incoming.entries == (Request(0, "host.info", {}),)


def test_a_notification() -> None:
    incoming = jsonrpc.read(b'[{"jsonrpc":"2.0","method":"m","params":{}}]')
    assert incoming == jsonrpc.Incoming((Notification("m", {}),), batch=True)


def test_a_notification_without_names_can_neither_be_run_nor_answered() -> None:
    assert jsonrpc.read(b'{"jsonrpc":"2.0","method":"m","params":[1]}').entries == ()


@pytest.mark.parametrize("identity", [None, 0, -5, 2**64 - 1, "", "seven", "ü" * ID_LENGTH])
def test_ids_are_used_as_given(identity: Id) -> None:
    request = {"jsonrpc": "2.0", "id": identity, "method": "m"}
    (entry,) = jsonrpc.read(json.dumps(request).encode()).entries
    assert isinstance(entry, Request)
    assert _document(jsonrpc.result(entry.id, True))["id"] == identity


@pytest.mark.parametrize("identity", [1.5, 1.0, True, [], {}, "x" * (ID_LENGTH + 1)])
def test_other_ids_are_refused(identity: object) -> None:
    request = {"jsonrpc": "2.0", "id": identity, "method": "m"}
    (entry,) = jsonrpc.read(json.dumps(request).encode()).entries
    assert isinstance(entry, Invalid)
    answer = _document(entry.response)
    assert answer["error"]["code"] == Code.invalid_request
    assert answer["id"] is None


def test_a_batch_has_a_bounded_number_of_entries() -> None:
    call = b'{"jsonrpc":"2.0","id":1,"method":"m"}'
    most = jsonrpc.read(b"[" + b",".join([call] * BATCH_ENTRIES) + b"]")
    assert len(most.entries) == BATCH_ENTRIES
    (entry,) = jsonrpc.read(b"[" + b"1," * 30000 + b"1]").entries
    assert isinstance(entry, Invalid)
    assert len(entry.response) < 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_NEARLY = st.dictionaries(
    st.sampled_from(["jsonrpc", "id", "method", "params", "extra"]), _JSON | st.just("2.0")
)


@settings(deadline=None)
@given(st.binary(max_size=100) | (_NEARLY | st.lists(_NEARLY | _JSON)).map(json.dumps))
def test_reading_raises_nothing(packet: bytes | str) -> None:
    incoming = jsonrpc.read(packet if isinstance(packet, bytes) else packet.encode())
    for entry in incoming.entries:
        assert isinstance(entry, Request | Notification | Invalid)
        if isinstance(entry, Invalid):
            answer = _document(entry.response)
            assert answer["error"]["code"] in {*Code}
            assert answer["error"]["data"]["detail"]


def test_a_model_is_written_by_its_aliases() -> None:
    device = DeviceInfo.model_construct(address=Address.pci("0000:01:00.0"), device_class="0200")
    page = DevicePage.model_construct(devices=(device,), next=None, snapshot=3)
    answer = _document(jsonrpc.result(3, page))
    assert answer["id"] == 3
    (written,) = answer["result"]["devices"]
    may_be = ("holder", "quarantine", "waiting", "ahead_problem", "held_outside")
    empty = dict.fromkeys(may_be)
    defaults: dict[str, object] = {**empty, "needed": [], "ahead": False}
    assert written == {"address": "pci:0000:01:00.0", "class": "0200", **defaults}


def test_a_refusal_says_who_can_help_and_how() -> None:
    details = {"devices": [Address.pci("0000:01:00.0")], "holder": {"yours": False}}
    answer = _document(
        jsonrpc.refusal(3, Refusal(Reason.group_busy, "group 12 is leased", details))
    )
    assert answer == {
        "jsonrpc": "2.0",
        "id": 3,
        "error": {
            "code": 1001,
            "message": "group 12 is leased",
            "data": {
                "reason": "group_busy",
                "devices": ["pci:0000:01:00.0"],
                "holder": {"yours": False},
                "hint": "try again when it is free",
                "retry": True,
                "fixed_by": "the holder",
            },
        },
    }


def test_a_refusal_may_have_a_better_hint_than_its_reason() -> None:
    answer = _document(jsonrpc.refusal(3, Refusal(Reason.kernel, "x", {}, hint="load vfio-pci")))
    assert answer["error"]["data"]["hint"] == "load vfio-pci"


def test_an_event() -> None:
    assert jsonrpc.notification("event", {"seq": 78}) == (
        b'{"jsonrpc":"2.0","method":"event","params":{"seq":78}}'
    )


def test_a_response_that_does_not_fit_becomes_an_error() -> None:
    fitting = jsonrpc.result(1, "x" * 1000)
    assert jsonrpc.fit(1, fitting) is fitting
    answer = _document(jsonrpc.fit("a", jsonrpc.result("a", "x" * PACKET_BYTES)))
    assert answer["id"] == "a"
    assert answer["error"]["code"] == Code.reply_too_long


def test_a_batch_without_replies_is_not_answered() -> None:
    assert jsonrpc.join([]) is None


def test_the_longest_replies_of_a_batch_give_way() -> None:
    responses: list[tuple[Id, bytes]] = [
        (identity, jsonrpc.result(identity, "x" * length))
        for identity, length in enumerate([100, 50000, 30000, 10000])
    ]
    answer = _document(jsonrpc.join(responses))
    assert [part["id"] for part in answer] == [0, 1, 2, 3]
    assert ["error" in part for part in answer] == [False, True, False, False]


@settings(deadline=None)
@given(st.lists(st.integers(0, PACKET_BYTES + 10), max_size=BATCH_ENTRIES))
def test_the_reply_to_a_batch_fits_a_packet(lengths: list[int]) -> None:
    longest_id = "\x01" * ID_LENGTH
    responses: list[tuple[Id, bytes]] = [
        (longest_id, jsonrpc.result(longest_id, "x" * length)) for length in lengths
    ]
    joined = jsonrpc.join(responses)
    if not lengths:
        assert joined is None
        return
    assert joined is not None
    assert len(joined) <= PACKET_BYTES
    assert len(_document(joined)) == len(lengths)


def test_a_batch_is_left_alone_up_to_the_last_byte() -> None:
    empty = len(jsonrpc.result(1, ""))
    responses: list[tuple[Id, bytes]] = [(1, jsonrpc.result(1, "x" * 1000))]
    room = PACKET_BYTES - 2 - 1 - (empty + 1000) - empty
    whole = jsonrpc.join([*responses, (1, jsonrpc.result(1, "y" * room))])
    assert whole is not None
    assert len(whole) == PACKET_BYTES
    assert b"error" not in whole
    cut = jsonrpc.join([*responses, (1, jsonrpc.result(1, "y" * (room + 1)))])
    assert cut is not None
    assert b"error" in cut
