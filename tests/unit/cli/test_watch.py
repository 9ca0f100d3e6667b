"""``isoctl watch``: events as they come, and its two ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from isod.cli.demo.stage import raised
from isod.cli.screen.event import event_line
from isod.client.blocking import Client
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import STANDARD
from isod.model.notice import Notice

from .conftest import Cards

pytestmark = pytest.mark.slow  # starts and ends many daemons


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(**facts: Any) -> str:
    return event_line(Notice.model_validate({"seq": 1, "at": 3600.0, **facts})).plain


def test_events_in_words() -> None:
    lease = {"lease": "L7", "uid": 1000, "devices": ["pci:0000:01:00.0", "pci:0000:01:00.1"]}
    assert line(kind="lease.granted", **lease) == "01:00:00  lease L7 granted: 01:00.0, 01:00.1"
    assert line(kind="lease.draining", note="its hold was closed", **lease) == (
        "01:00:00  lease L7 ends: its hold was closed"
    )
    assert line(kind="lease.in_use", open=["pci:0000:01:00.0"], **lease) == (
        "01:00:00  lease L7 is waited for, its devices are open: 01:00.0"
    )
    assert line(kind="lease.revoking", note="by root", deadline=3630.0, **lease) == (
        "01:00:00  the owner of lease L7 is asked to let go: by root, until 01:00:30"
    )
    assert line(kind="policy.reloaded", policy=3) == "01:00:00  policy 3 is in use"


def test_devices_in_words() -> None:
    device = {"device": "pci:0000:02:00.0", "generation": 5, "group": 13}
    assert line(kind="device.changed", driver="nvme", state="host", **device) == (
        "01:00:00  02:00.0 is now on nvme: host"
    )
    assert line(kind="device.added", state="free", **device) == (
        "01:00:00  02:00.0 is there, without a driver: free"
    )
    assert line(kind="device.removed", **device) == "01:00:00  02:00.0 is gone"


def test_a_kind_of_a_later_version_is_shown_as_it_is() -> None:
    assert line(kind="lease.moved", lease="L7", note="far\x1b[31m away") == (
        "01:00:00  lease.moved L7: far\\x1b[31m away"
    )


@contextmanager
def watching(cards: Cards, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in the background, once it watches."""
    command = cards.command("watch", *arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            if "--since" not in arguments:
                assert process.stderr.readline() == "Watching until Ctrl-C.\n"
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lease_passes_by(cards: Cards, number: signal.Signals) -> None:
    card = cards.next_card()
    with watching(cards, "--kinds", "lease") as process:
        with Client.connect(cards.stage.socket) as client, client.acquire([f"{card}.0"]) as lease:
            assert next_line(process)[10:] == f"lease {lease.id} granted: {card}.0, {card}.1"
        assert next_line(process)[10:] == f"lease {lease.id} ends: its hold was closed"
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


def test_json_lines_lead_to_where_to_begin(cards: Cards) -> None:
    card = cards.next_card()
    with watching(cards, "--json", "--kinds", "lease,device") as process:
        with Client.connect(cards.stage.socket) as client, client.acquire([f"{card}.0"]) as lease:
            pass
        events = [json.loads(next_line(process))]
        while events[-1]["kind"] != "lease.ended":
            events.append(json.loads(next_line(process)))
        assert {event["lease"] for event in events if "lease" in event} == {lease.id}
    with watching(
        cards, "--json", "--kinds", "lease", "--since", str(events[0]["seq"] - 1)
    ) as again:
        missed = [json.loads(next_line(again)) for _ in range(3)]
    assert [event["kind"] for event in missed] == ["lease.granted", "lease.draining", "lease.ended"]


def test_what_is_not_to_be_had_any_more_is_said(cards: Cards) -> None:
    with watching(cards, "--json", "--since", "5") as process:
        gap = json.loads(next_line(process))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert (gap["kind"], gap["lost"]) == ("gap", True)
    assert gap["seq"] > 5
    assert process.returncode == 0
    with watching(cards, "--since", "5") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            "events were left out: what came before is not known any more; they are gone.\n"
        )


def test_kinds_that_there_are_not(cards: Cards) -> None:
    ran = cards.run("watch", "--kinds", "lease,weather")
    assert ran.returncode == 2
    assert "kinds are lease, device, policy" in ran.stderr


def test_the_help_has_examples(cards: Cards) -> None:
    said = cards.run("watch", "--help").stdout
    assert "isoctl watch --kinds lease --json | jq" in said
    assert "Exit codes" in said


def test_nobody_listens(cards: Cards) -> None:
    ran = cards.run("--socket", str(cards.stage.socket) + ".not", "watch")
    assert ran.returncode == 4


def test_the_daemons_end_is_the_end() -> None:
    own = os.geteuid()
    with ExitStack() as stack:
        with raised((own, own), lambda machine: build(machine, STANDARD)) as stage:
            process = stack.enter_context(watching(Cards(stage, iter(())), "--reconnect", "0.2"))
        _, said = process.communicate(timeout=30)
    assert process.returncode == 4
    assert said.startswith("isod closed the connection; connecting again.\nError: cannot connect")
    assert said.endswith("isod did not come back within 0.2 seconds\n")


def test_the_daemons_end_is_the_end_at_once_for_who_does_not_wait() -> None:
    own = os.geteuid()
    with ExitStack() as stack:
        with raised((own, own), lambda machine: build(machine, STANDARD)) as stage:
            process = stack.enter_context(watching(Cards(stage, iter(())), "--reconnect", "0"))
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (4, "Error: isod closed the connection\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_daemon_that_is_away(number: signal.Signals) -> None:
    own = os.geteuid()
    with ExitStack() as stack:
        with raised((own, own), lambda machine: build(machine, STANDARD)) as stage:
            process = stack.enter_context(watching(Cards(stage, iter(()))))
        assert process.stderr is not None
        assert process.stderr.readline() == "isod closed the connection; connecting again.\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "")
