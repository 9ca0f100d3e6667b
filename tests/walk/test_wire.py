"""The socket's rules, with a daemon at the other end: batches, ids, pages, notifications."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isod.kernel.simulated import faults
from isod.wire import packet
from tests.unit.wire.test_jsonrpc_spec import EXAMPLES, SECTIONS_4_AND_5, Example

from .stage import Stage

# isod does not have the specification's methods: where those return a result it says "method not
# found". All else is compared as the specification prints it.
NOT_FOUND = {"code": -32601, "message": "Method not found"}


def comparable(document: Any) -> Any:
    """Without ``data``; a result of one of the specification's methods is no method of isod's."""
    if isinstance(document, list):
        parts = [comparable(part) for part in document]
        return sorted(parts, key=lambda part: json.dumps(part, sort_keys=True))
    found = {name: value for name, value in document.items() if name != "result"}
    if "result" in document:
        found["error"] = NOT_FOUND
    if "error" in found:
        found["error"] = {name: found["error"][name] for name in ("code", "message")}
    return found


CASES = [case for case in EXAMPLES + SECTIONS_4_AND_5 if "does not take" not in case.name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_example_of_the_specification(stage: Stage, case: Example) -> None:
    expected = case.expected if case.ours is None else case.ours
    with stage.line() as line:
        line.send(case.sent)
        if expected is not None:
            received = line.receive()
            assert received is not None
            assert comparable(received[0]) == comparable(json.loads(expected))
        assert "result" in line.ask("hello", client="after", protocol=1)


def test_a_batch_is_answered_in_one_packet(stage: Stage) -> None:
    calls: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": "a", "method": "hello", "params": {"client": "x", "protocol": 1}},
        {"jsonrpc": "2.0", "method": "host.info"},
        {"jsonrpc": "2.0", "id": "b", "method": "lease.list"},
        {
            "jsonrpc": "2.0",
            "id": "c",
            "method": "lease.acquire",
            "params": {"devices": [{"address": f"pci:{stage.machine.device('single')}"}]},
        },
    ]
    with stage.line() as line:
        line.send(json.dumps(calls))
        received = line.receive()
    assert received is not None
    answers = {one["id"]: one for one in received[0]}
    assert answers.keys() == {"a", "b", "c"}
    assert answers["b"]["result"]["leases"] == []
    assert answers["c"]["error"]["code"] == -32600, "a reply with fds in a batch"
    assert stage.lease_count() == 0


@pytest.mark.parametrize("batch", [False, True])
def test_a_notification_changes_nothing(stage: Stage, batch: bool) -> None:
    wanted = {"devices": [{"address": f"pci:{stage.machine.device('single')}"}]}
    with stage.control.acquire([stage.machine.device("pair")]) as lease, stage.line() as line:
        own = {"lease": lease.id, "secret": lease.secret}
        for method, params in (
            ("lease.acquire", wanted),
            ("lease.open", own),
            ("lease.release", own),
        ):
            call = {"jsonrpc": "2.0", "method": method, "params": params}
            line.send(json.dumps([call] if batch else call))
        # Whatever came of them would be answered first: requests that look are served in order.
        leases = line.ask("lease.list")["result"]["leases"]
        assert [(one["id"], one["state"]) for one in leases] == [(lease.id, "leased")]


def test_an_id_under_way_is_refused(stage: Stage) -> None:
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    with stage.line() as line:
        with faults.hang(stage.machine.root, "bind"):
            line.call("lease.acquire", 7, devices=[{"address": f"pci:{single}"}])
            line.call("lease.acquire", 7, devices=[{"address": f"pci:{pair}"}])
            refused = line.receive()
        granted = line.receive()
    assert refused is not None
    assert refused[0]["error"]["code"] == -32600
    assert refused[0]["id"] == 7
    assert granted is not None
    assert granted[0]["result"]["lease"]["devices"][0]["address"] == f"pci:{single}"
    packet.close_all(granted[1])


def test_answers_come_out_of_order(stage: Stage) -> None:
    with stage.line() as line:
        with faults.hang(stage.machine.root, "bind"):
            wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
            line.call("lease.acquire", "slow", devices=wanted)
            line.call("host.info", "quick")
            first = line.receive()
        second = line.receive()
    assert first is not None
    assert second is not None
    assert (first[0]["id"], second[0]["id"]) == ("quick", "slow")
    packet.close_all(second[1])


def test_too_many_requests_under_way(stage: Stage) -> None:
    wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
    with stage.line() as line, faults.hang(stage.machine.root, "open_iommufd"):
        line.call("lease.acquire", "first", devices=wanted, key="one")
        for number in range(40):
            line.call("lease.acquire", number, devices=wanted)
        for _ in range(40):
            received = line.receive()
            assert received is not None
            assert received[0]["error"]["data"]["reason"] in {"group_busy", "quota"}


@pytest.mark.parametrize(
    ("method", "items", "name"),
    [("host.devices", "devices", "address"), ("host.groups", "groups", "number")],
)
def test_pages(stage: Stage, method: str, items: str, name: str) -> None:
    with stage.line() as line:
        whole = [one[name] for one in line.ask(method, limit=500)["result"][items]]
        found: list[Any] = []
        after = None
        while True:
            page = line.ask(method, limit=3, after=after)["result"]
            assert len(page[items]) <= 3
            found += [one[name] for one in page[items]]
            if (after := page["next"]) is None:
                break
        assert found == whole
        error = line.ask(method, after="no cursor")["error"]
        assert error["data"]["reason"] == "expired"


def test_the_document_names_every_method(stage: Stage) -> None:
    with stage.line() as line:
        document = line.ask("rpc.discover")["result"]
    assert "lease.acquire" in {method["name"] for method in document["methods"]}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"devices": []},
        {"devices": [{"address": "pci:0000:01:00.0", "adress": 1}]},
        {"devices": [{"address": "../../../etc/passwd"}]},
        {"devices": [{"address": "pci:0000:01:00.0\n"}]},
        {"devices": [{"address": 7}]},
        {"devices": [{"address": "pci:0000:01:00.0"}], "hand_over": "all"},
        {"devices": [{"address": "pci:0000:01:00.0"}], "memlock": -1},
        {"devices": [{"address": "pci:0000:01:00.0"}], "memlock": True},
        {"devices": [{"address": "pci:0000:01:00.0"}] * 251},
        {"devices": [{"address": "pci:0000:01:00.0"}], "key": ""},
    ],
    ids=str,
)
def test_what_acquire_does_not_take(stage: Stage, params: dict[str, Any]) -> None:
    with stage.line() as line:
        assert line.ask("lease.acquire", **params)["error"]["code"] == -32602
