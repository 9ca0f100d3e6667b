"""``isoctl`` against a daemon on a simulated machine."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isod import __version__

from .conftest import DISK, Cards


@contextmanager
def holding(cards: Cards, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """``isoctl acquire --json`` in the background, and the line it prints first."""
    command = cards.command("acquire", "--json", *arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_ls_shows_groups_and_leaves_out_bridges(cards: Cards) -> None:
    ran = cards.run("ls")
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert lines[0].split() == ["GROUP", "DEVICE", "WHAT", "DRIVER", "RESET", "STATE"]
    assert any(line.startswith("  140  pci:0000:28:00.0  Ethernet (8086:10d3)") for line in lines)
    assert any("└ 0000:28:00.1" in line for line in lines)
    assert lines[-1] == "(41 bridges not shown; --all shows them)"
    assert len(cards.run("ls", "--all").stdout.splitlines()) == len(lines) - 1 + 41


def test_ls_in_json_has_every_page(cards: Cards) -> None:
    found = json.loads(cards.run("ls", "--json").stdout)
    assert len(found["devices"]) == 40 * 3 + 2
    assert {device["class"] for device in found["devices"]} == {"020000", "010802", "060400"}
    assert found["groups"][-1]["devices"] == ["pci:0000:f0:00.0"]


def test_show_takes_short_addresses(cards: Cards) -> None:
    ran = cards.run("show", DISK)
    assert ran.returncode == 0
    assert ran.stdout.startswith("pci:0000:f0:00.0  NVMe (1b36:0010)      group 201")
    answer = json.loads(cards.run("show", "pci:0000:f0:00.0", "--json").stdout)
    assert answer["device"]["driver"] == "nvme"
    assert answer["group"]["number"] == 201
    assert answer["reset_set"]["total"] == 1
    assert answer["isolation"]["isolation"] == "device"  # its config space was surveyed


def test_show_tells_what_a_hot_reset_hits(cards: Cards) -> None:
    card = cards.next_card()
    line = next(
        line for line in cards.run("show", f"{card}.0").stdout.splitlines() if "Reset" in line
    )
    assert line.endswith(f"hits nothing else; a hot reset hits {card}.1, too")


def test_explain_and_acquire_say_when_a_hot_reset_is_permitted(cards: Cards) -> None:
    card = cards.next_card()
    asked = json.dumps({"devices": [{"address": f"{card}.0"}]})
    explained = json.loads(cards.run("call", "lease.explain", asked, "--json").stdout)
    assert explained["allowed"], explained
    with holding(cards, "-d", f"{card}.0") as (_, granted):
        identity = granted["lease"]["id"]
        got = json.loads(
            cards.run("call", "lease.get", json.dumps({"lease": identity}), "--json").stdout
        )
    assert got["reset"] == explained["reset"]
    assert got["reset"]["hot"] == "permitted_when"
    assert got["reset"]["sets"][0]["hits"] == [f"pci:0000:{card}.0", f"pci:0000:{card}.1"]


def test_show_knows_what_is_not_there(cards: Cards) -> None:
    ran = cards.run("show", "99:00.0")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no device pci:0000:99:00.0" in ran.stderr
    assert json.loads(cards.run("show", "99:00.0", "--json").stdout)["error"]["message"]


def test_acquire_holds_until_it_is_told_to_end(cards: Cards) -> None:
    card = cards.next_card()
    with holding(cards, "-d", f"{card}.0") as (process, granted):
        assert granted["lease"]["secret"]
        assert {role["role"] for role in granted["fds"]} == {"hold", "iommufd", "device"}
        (lease,) = json.loads(cards.run("leases", "--json").stdout)["leases"]
        assert lease["id"] == granted["lease"]["id"]
        assert lease["secret"] is None
        assert f"{card}.0 (parked: {card}.1)" in cards.run("leases").stdout
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Holding lease" in said


def test_acquire_prints_the_lease_for_people(cards: Cards) -> None:
    card = cards.next_card()
    command = cards.command("acquire", "-d", f"{card}.1", "--hand-over", "group")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # says that it holds
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "by rule demo-network-cards, handed over as group" in said
    assert "container" in said
    assert "  secret  " in said


def test_a_second_asker_is_refused_with_the_reason(cards: Cards) -> None:
    card = cards.next_card()
    with holding(cards, "-d", f"{card}.0"):
        ran = cards.run("acquire", "-d", f"{card}.1")
        assert (ran.returncode, ran.stdout) == (3, "")
        lines = ran.stderr.splitlines()
        assert lines[0].startswith("Refused: group_busy.  group ")
        assert lines[-1].startswith("  Who can fix it: ")
        assert len(lines) <= 5
        refused = cards.run("acquire", "-d", f"{card}.1", "--json")
        assert refused.returncode == 3
        assert json.loads(refused.stdout)["error"]["data"]["reason"] == "group_busy"


def test_what_no_rule_allows_is_denied(cards: Cards) -> None:
    ran = cards.run("acquire", "-d", DISK)
    assert ran.returncode == 3
    assert ran.stderr.startswith("Refused: denied.  ")
    assert "Who can fix it: an administrator." in ran.stderr


def test_releasing_a_lease_ends_whoever_holds_it(cards: Cards) -> None:
    card = cards.next_card()
    with holding(cards, "-d", f"{card}.0") as (process, granted):
        lease = granted["lease"]
        wrong = cards.run("release", lease["id"], "--secret", "guessed")
        assert wrong.returncode == 3
        assert "Refused: not_yours." in wrong.stderr
        released = cards.run("release", lease["id"], ISOD_SECRET=lease["secret"])
        assert released.returncode == 0
        assert released.stdout.startswith(f"Lease {lease['id']} is draining")
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"Lease {lease['id']} has ended." in said


def test_release_answers_in_json(cards: Cards) -> None:
    card = cards.next_card()
    with holding(cards, "-d", f"{card}.0") as (_, granted):
        lease = granted["lease"]
        ran = cards.run("release", lease["id"], "--secret", lease["secret"], "--json")
        assert json.loads(ran.stdout)["lease"]["id"] == lease["id"]


def test_the_same_key_gets_the_same_lease_and_no_files(cards: Cards) -> None:
    card = cards.next_card()
    with holding(cards, "-d", f"{card}.0", "--key", "mine") as (_, granted):
        again = cards.run("acquire", "-d", f"{card}.0", "--key", "mine", "--json")
        assert again.returncode == 1
        assert granted["lease"]["id"] in again.stdout


def test_call_prints_the_result(cards: Cards) -> None:
    info = json.loads(cards.run("call", "host.info").stdout)
    assert info["simulated"] is True
    line = cards.run("call", "host.groups", '{"limit": 1}', "--json").stdout
    assert line.count("\n") == 1
    assert len(json.loads(line)["groups"]) == 1


def test_call_closes_the_files_that_come_along(cards: Cards) -> None:
    params = json.dumps({"devices": [{"address": f"pci:0000:{cards.next_card()}.0"}]})
    ran = cards.run("call", "lease.acquire", params)
    assert ran.returncode == 0
    assert "3 files came along and were closed." in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("call", "no.such"), 1, "Method not found"),
        (("call", "host.groups", '{"limit": -1}'), 1, "Invalid params"),
        (("call", "host.info", "[]"), 2, "write an object"),
        (("call", "host.info", "{"), 2, "not JSON"),
        (("call", "lease.get", '{"lease": "L99999"}'), 3, "Refused: not_found."),
        (("show", "eth0"), 2, "not a device address"),
        (("acquire",), 2, "Missing option"),
        (("acquire", "-d", "01:00.0", "-d", "pci:0000:01:00.0"), 2, "given twice"),
        (("acquire", "-d", "01:00.0", "--key", ""), 2, "1 to 128 characters"),
        (("release", "L1"), 2, "Missing option"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_exit_codes(cards: Cards, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = cards.run(*arguments)
    assert ran.returncode == code
    assert ran.stdout == ""
    assert says in ran.stderr


def test_errors_of_the_protocol_come_as_json_too(cards: Cards) -> None:
    ran = cards.run("call", "no.such", "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"]["code"] == -32601


def test_without_a_daemon_it_says_so(cards: Cards, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "sock")
    ran = cards.run("--socket", nowhere, "ls")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "isod is not running" in ran.stderr
    assert "Traceback" not in ran.stderr
    in_json = cards.run("--socket", nowhere, "ls", "--json")
    assert in_json.returncode == 4
    assert json.loads(in_json.stdout)["error"]["data"]["reason"] == "unreachable"


def test_the_socket_can_stand_in_the_environment(cards: Cards) -> None:
    command = [word for word in cards.command("leases") if word != "--socket"]
    command.remove(str(cards.stage.socket))
    environment = {"ISOD_SOCKET": str(cards.stage.socket), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    assert ran.returncode == 0


def test_version_and_help(cards: Cards) -> None:
    assert cards.run("--version").stdout == f"isoctl {__version__}\n"
    for command in ("ls", "show", "acquire", "release", "leases", "call", "exec"):
        text = cards.run(command, "--help").stdout
        assert "Examples:" in text
        assert "Exit codes: 0 done" in text
        assert "--json" in text


def test_explain_tells_what_a_pool_would_give(cards: Cards) -> None:
    ran = cards.run("explain", "-d", "pool:last:2", "--numa", "0")
    assert ran.returncode == 0, ran.stderr
    assert "Out of pool last: 28:00.0, 28:00.1." in ran.stdout.splitlines()
    answer = json.loads(cards.run("explain", "-d", "pool:last", "--json").stdout)
    assert [one["pool"] for one in answer["devices"]] == ["last", None]


def test_a_pool_with_too_few_is_refused_in_five_lines(cards: Cards) -> None:
    ran = cards.run("explain", "-d", "pool:last:3")
    assert ran.returncode == 3
    assert "pool last has 2 for you, and 3 are asked for" in ran.stderr
    assert len(ran.stderr.splitlines()) <= 5


def test_acquire_tells_what_came_out_of_a_pool(cards: Cards) -> None:
    with holding(cards, "-d", "pool:last", "--wait", "30") as (_, told):
        assert [one["pool"] for one in told["lease"]["devices"]] == ["last", None]
