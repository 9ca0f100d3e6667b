"""Replies find their callers in whatever order they come, and no fd is left behind."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isod.client.conversation import Answer, Conversation
from isod.client.errors import CallError, ProtocolError, Refused, error_of
from isod.client.event_queue import EVENTS
from isod.model.reason import Reason, Refusal
from isod.wire import jsonrpc
from isod.wire.jsonrpc import Code
from isod.wire.packet import Packet
from isod.wire.response import Failure
from tests.unit.wire.open_files import open_fds


def _fds(count: int) -> tuple[int, ...]:
    return tuple(os.memfd_create("file") for _ in range(count))


def _reply(identity: int, fds: tuple[int, ...] = (), value: object = None) -> Packet:
    result = {"value": value, "fds": [{"role": "device"}] * len(fds)}
    return Packet(jsonrpc.result(identity, result), fds)


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


@settings(deadline=None)
@given(st.data())
def test_replies_in_any_order_with_events_in_between(data: st.DataObject) -> None:
    before = open_fds()
    talk = Conversation()
    calls = [talk.ask("m", {"number": number})[0] for number in range(data.draw(st.integers(1, 8)))]
    abandoned = data.draw(st.sets(st.sampled_from(calls)))
    late = data.draw(st.sets(st.sampled_from(calls)))
    for identity in abandoned - late:
        talk.abandon(identity)
    events = 0
    for identity in data.draw(st.permutations(calls)):
        if data.draw(st.booleans()):
            talk.feed(Packet(jsonrpc.notification("event", {"seq": events})))
            events += 1
        talk.feed(_reply(identity, _fds(identity % 3), identity))
    for identity in data.draw(st.permutations(calls)):
        if identity in abandoned:
            talk.abandon(identity)
            assert talk.answer(identity) is None
            continue
        answer = talk.answer(identity)
        assert answer is not None
        assert isinstance(answer.value, dict)
        assert answer.value["value"] == identity
        assert len(answer.fds) == identity % 3
        Packet(b"", answer.fds).close()
        assert talk.answer(identity) is None
    assert [talk.next_event() for _ in range(events + 1)] == [
        *({"seq": number} for number in range(events)),
        None,
    ]
    assert open_fds() == before


_PACKETS = st.sampled_from(
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"jsonrpc":"1.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":"m"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1}}',
        b'{"jsonrpc":"2.0","id":1.0,"result":{}}',
        b'{"jsonrpc":"2.0","id":true,"result":{}}',
        b'{"jsonrpc":"2.0","id":"1","result":{"fds":[{},{}]}}',
        b'{"jsonrpc":"2.0","id":null,"result":{"fds":[{},{}]}}',
        b'{"jsonrpc":"2.0","id":2,"result":{"fds":[{},{}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"fds":[{}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"fds":[{},{},{}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"fds":2}}',
        b'{"jsonrpc":"2.0","id":1,"result":7}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1001,"message":"m"}}',
        b'{"jsonrpc":"2.0","method":"event","params":{"seq":1}}',
        b'{"jsonrpc":"2.0","method":"event","params":[1]}',
        b'{"jsonrpc":"2.0","method":"event","id":1}',
        b'{"jsonrpc":"2.0","method":7}',
        b'[{"jsonrpc":"2.0","id":1,"result":{"fds":[{},{}]}},{"jsonrpc":"2.0","method":"m"}]',
    ]
)


@settings(deadline=None)
@given(_PACKETS | st.binary(max_size=30))
def test_a_packet_that_breaks_the_protocol_leaves_no_fd(data: bytes) -> None:
    before = open_fds()
    talk = Conversation()
    identity, _ = talk.ask("m", {})
    with pytest.raises((ProtocolError, CallError)):
        talk.feed(Packet(data, _fds(2)))
    assert talk.answer(identity) is None
    assert open_fds() == before


def test_fds_that_are_declared_and_did_not_come(talk: Conversation) -> None:
    identity, _ = talk.ask("m", {})
    data = jsonrpc.result(identity, {"fds": [{"role": "hold"}]})
    with pytest.raises(ProtocolError, match="1 fds declared, 0 received"):
        talk.feed(Packet(data))


def test_an_answer_to_nobody(talk: Conversation) -> None:
    identity, _ = talk.ask("m", {})
    talk.feed(_reply(identity))
    talk.answer(identity)
    with pytest.raises(ProtocolError, match="not made"):
        talk.feed(_reply(identity))


def test_two_answers_to_one_call_leave_no_fd(talk: Conversation) -> None:
    before = open_fds()
    identity, _ = talk.ask("m", {})
    talk.feed(_reply(identity, _fds(1)))
    with pytest.raises(ProtocolError, match="not made"):
        talk.feed(_reply(identity, _fds(1)))
    talk.end()
    assert open_fds() == before


def test_a_refusal_comes_as_an_exception(talk: Conversation) -> None:
    identity, _ = talk.ask("m", {})
    refusal = Refusal(Reason.group_busy, "group 12 is leased", {"holder": {"yours": False}})
    talk.feed(Packet(jsonrpc.refusal(identity, refusal)))
    with pytest.raises(Refused, match="group 12 is leased") as caught:
        talk.answer(identity)
    refused = caught.value
    assert refused.reason is Reason.group_busy
    assert (refused.code, refused.retry) == (1001, True)
    assert (refused.hint, refused.fixed_by) == ("try again when it is free", "the holder")
    assert refused.data["holder"] == {"yours": False}


def test_a_reason_of_a_later_version(talk: Conversation) -> None:
    identity, _ = talk.ask("m", {})
    error = b'{"jsonrpc":"2.0","id":%d,"error":{"code":1999,"message":"m","data":{"reason":"new"}}}'
    talk.feed(Packet(error % identity))
    with pytest.raises(Refused) as caught:
        talk.answer(identity)
    assert caught.value.reason is None
    assert caught.value.data["reason"] == "new"


def test_an_error_of_json_rpc_itself(talk: Conversation) -> None:
    identity, _ = talk.ask("m", {})
    talk.feed(Packet(jsonrpc.error(identity, Code.method_not_found, "no m")))
    with pytest.raises(CallError, match="Method not found: no m") as caught:
        talk.answer(identity)
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize(
    ("data", "words"),
    [({}, "error 7, without a word"), ({"detail": "x"}, "error 7, without a word: x")],
)
def test_an_error_without_words_says_its_number(data: dict[str, object], words: str) -> None:
    assert str(error_of(Failure(1, 7, "", data))) == words


def test_an_error_about_the_connection_as_a_whole(talk: Conversation) -> None:
    talk.ask("m", {})
    refusal = Refusal(Reason.quota, "too many connections", {})
    with pytest.raises(Refused, match="too many connections"):
        talk.feed(Packet(jsonrpc.refusal(None, refusal)))


def test_what_comes_after_the_end_is_closed(talk: Conversation) -> None:
    before = open_fds()
    first, _ = talk.ask("m", {})
    second, _ = talk.ask("m", {})
    talk.feed(_reply(first, _fds(2)))
    talk.end()
    assert open_fds() == before
    talk.feed(_reply(second, _fds(2)))
    assert open_fds() == before
    assert talk.answer(first) is None


def _event(talk: Conversation, name: str, seq: int) -> None:
    notice = {"subscription": name, "seq": seq}
    talk.feed(Packet(jsonrpc.notification("event", notice)))


def test_events_that_nobody_takes_end_in_a_gap(talk: Conversation) -> None:
    for number in range(EVENTS + 10):
        _event(talk, "S1", number)
    _event(talk, "S2", 7)
    taken = [talk.next_event("S1") for _ in range(EVENTS + 2)]
    assert taken[-3] == {"subscription": "S1", "seq": EVENTS - 1}
    assert taken[-1] is None
    gap = taken[-2]
    assert gap is not None
    assert (gap["kind"], gap["seq"], gap["lost"]) == ("gap", EVENTS - 1, False)
    _event(talk, "S1", EVENTS + 10)
    assert talk.next_event("S1") is None, "a gap is the last event of its subscription"
    other = talk.next_event("S2")
    assert other is not None
    assert other["kind"] == "gap"
    _event(talk, "S3", 8)
    assert talk.next_event("S3") == {"subscription": "S3", "seq": 8}


def test_each_subscription_has_its_own_events(talk: Conversation) -> None:
    for seq, name in enumerate(("S1", "S2", "S1")):
        _event(talk, name, seq)
    assert talk.next_event("S2") == {"subscription": "S2", "seq": 1}
    talk.events.forget("S2")
    _event(talk, "S2", 9)
    assert talk.next_event("S2") is None
    assert [talk.next_event(), talk.next_event("S1"), talk.next_event()] == [
        {"subscription": "S1", "seq": 0},
        {"subscription": "S1", "seq": 2},
        None,
    ]


def test_notifications_of_a_later_version_are_ignored(talk: Conversation) -> None:
    talk.feed(Packet(jsonrpc.notification("greeting", {})))
    assert talk.next_event() is None


def test_a_batch_of_replies(talk: Conversation) -> None:
    first, _ = talk.ask("m", {})
    second, _ = talk.ask("m", {})
    parts = [(second, jsonrpc.result(second, 2)), (first, jsonrpc.result(first, 1))]
    joined = jsonrpc.join(parts)
    assert joined is not None
    talk.feed(Packet(joined))
    assert talk.answer(first) == Answer(1)
    assert talk.answer(second) == Answer(2)
