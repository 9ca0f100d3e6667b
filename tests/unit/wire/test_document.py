"""The protocol page and the OpenRPC document say what the models say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import isod
from isod.model import request
from isod.model.method import METHODS, openrpc
from isod.model.notice import GAP, KINDS, Notice
from isod.model.reason import Reason
from isod.wire import jsonrpc, strict_json
from isod.wire.document import OPENRPC, PAGE, error_table, openrpc_text, updated
from isod.wire.jsonrpc import Request

TEXT = PAGE.read_text(encoding="utf-8")
AGAIN = "run: python -m isod.wire.document"


def messages() -> list[tuple[str, str]]:
    """Every message that the page shows, with its direction."""
    found = []
    for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL):
        for arrow, text in re.findall(
            r"^([→←]) (.*?)(?=^[→←]|\Z)", block, re.DOTALL | re.MULTILINE
        ):
            found.append((arrow, " ".join(text.split())))
    return found


SENT = [text for arrow, text in messages() if arrow == "→"]
RECEIVED = [text for arrow, text in messages() if arrow == "←"]


def _method_of(identity: object) -> str:
    """Which method a reply answers: the page never uses an id twice."""
    (method,) = [one["method"] for one in map(json.loads, SENT) if one["id"] == identity]
    return str(method)


def test_the_openrpc_document_is_that_of_the_models() -> None:
    assert json.loads(OPENRPC.read_text(encoding="utf-8")) == openrpc(isod.__version__), AGAIN
    assert OPENRPC.read_text(encoding="utf-8") == openrpc_text(), AGAIN


def test_the_tables_are_those_of_the_models() -> None:
    assert updated(TEXT) == TEXT, AGAIN


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
def test_every_reason_is_in_the_table(reason: Reason) -> None:
    assert f"| {reason.code} | `{reason.name}` |" in error_table()


def test_codes_are_positive_and_used_once() -> None:
    codes = [reason.code for reason in Reason]
    assert len(set(codes)) == len(codes)
    assert min(codes) > 0


def test_a_page_without_a_place_for_the_table() -> None:
    with pytest.raises(ValueError, match="no place"):
        updated("# a page")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_chapter_and_an_example(method: str) -> None:
    assert f"\n### {method}\n" in TEXT
    assert any(json.loads(text)["method"] == method for text in SENT)


@pytest.mark.parametrize("text", SENT)
def test_what_the_page_sends_is_taken(text: str) -> None:
    (entry,) = jsonrpc.read(text.encode()).entries
    assert isinstance(entry, Request)
    METHODS[entry.method].params.model_validate(entry.params)


@pytest.mark.parametrize("text", RECEIVED)
def test_what_the_page_receives_is_what_the_models_write(text: str) -> None:
    document: Any = strict_json.loads(text.encode())
    if document.get("method") == "event":
        notice = Notice.model_validate(document["params"])
        assert notice.kind in KINDS or notice.kind == GAP
        shown, written = document["params"], notice.model_dump(mode="json")
        assert _is_part_of(shown, written)
        return
    if "error" in document:
        data = document["error"]["data"]
        reason = Reason[data["reason"]]
        assert document["error"]["code"] == reason.code
        assert (data["retry"], data["hint"]) == (reason.retry, reason.hint)
        assert data["fixed_by"] == reason.fixed_by
        return
    model = METHODS[_method_of(document["id"])].result
    assert model is not None
    written = model.model_validate(document["result"]).model_dump(mode="json", by_alias=True)
    assert _is_part_of(document["result"], written)


def _is_part_of(shown: object, written: object) -> bool:
    """Whether every member that the page shows is written so; it may leave some out."""
    if isinstance(shown, dict) and isinstance(written, dict):
        return all(key in written and _is_part_of(shown[key], written[key]) for key in shown)
    if isinstance(shown, list) and isinstance(written, list):
        return len(shown) == len(written) and all(map(_is_part_of, shown, written))
    return shown == written


@pytest.mark.parametrize("field", sorted(set(Notice.model_fields) - {"subscription", "kind"}))
def test_every_member_of_an_event_is_explained(field: str) -> None:
    assert any(f"`{field}`" in row.split("|")[1] for row in TEXT.splitlines() if row[:3] == "| `")


@pytest.mark.parametrize("field", request.Acquire.model_fields)
def test_every_parameter_of_acquire_is_explained(field: str) -> None:
    assert f"\n| `{field}` |" in TEXT


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{request.PACKET_BYTES:,} bytes" in TEXT
    assert f"| {request.LEASE_FDS} (`limits.fds`)" in TEXT
    assert f"| {strict_json.MAX_DEPTH} |" in TEXT
    assert f"| {jsonrpc.ID_LENGTH} characters |" in TEXT
    assert f"| {jsonrpc.BATCH_ENTRIES} requests |" in TEXT
