"""``isoctl log``: records picked out of a journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from isod.cli.command.log import since
from isod.cli.isoctl import isoctl
from isod.cli.journal_records import Record, Wanted, records
from isod.model.address import Address

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def entry(kind: str, message: str = "", **fields: str) -> dict[str, object]:
    ours = {f"ISOD_{name.upper()}": value for name, value in fields.items()}
    written = {"__REALTIME_TIMESTAMP": NOON, "_UID": 0}
    return {**written, "MESSAGE": message, "ISOD_KIND": kind, **ours}


JOURNAL = [
    entry("lease.granted", lease="L1", uid="1000", devices="pci:0000:01:00.0 pci:0000:01:00.1"),
    entry("lease.refused", uid="1001", devices="pci:0000:01:00.1", reason="denied"),
    entry("admin.asked", admin_uid="1002", devices="pci:0000:02:00.0", method="quarantine.set"),
    entry("device.quarantined", device="pci:0000:02:00.0"),
    {"__REALTIME_TIMESTAMP": NOON, "MESSAGE": "not ours"},
    entry("lease.ended", lease="L1", uid="1000", devices="pci:0000:01:00.0 pci:0000:01:00.1"),
]


def kinds(wanted: Wanted) -> list[str]:
    return [record.kind for record in records(JOURNAL, wanted)]


def test_everything_of_ours() -> None:
    assert kinds(Wanted()) == [
        "lease.granted",
        "lease.refused",
        "admin.asked",
        "device.quarantined",
        "lease.ended",
    ]


def test_of_a_lease() -> None:
    assert kinds(Wanted(lease="L1")) == ["lease.granted", "lease.ended"]


def test_of_a_user() -> None:
    assert kinds(Wanted(uid=1001)) == ["lease.refused"]
    assert kinds(Wanted(uid=1002)) == ["admin.asked"]


def test_of_a_device_however_it_is_named() -> None:
    assert kinds(Wanted(device=Address.parse("02:00.0"))) == ["admin.asked", "device.quarantined"]
    assert "lease.refused" in kinds(Wanted(device=Address.parse("01:00.1")))
    assert "lease.refused" not in kinds(Wanted(device=Address.parse("01:00.0")))


def test_of_a_kind_or_a_family() -> None:
    assert kinds(Wanted(kind="lease.refused")) == ["lease.refused"]
    assert len(kinds(Wanted(kind="lease"))) == 3
    assert kinds(Wanted(kind="lea")) == []


def test_as_json() -> None:
    [record] = records(JOURNAL, Wanted(uid=1001))
    assert record.as_json() == {
        "at": "2026-01-31T12:00:00+00:00",
        "kind": "lease.refused",
        "message": "",
        "uid": "1001",
        "devices": "pci:0000:01:00.1",
        "reason": "denied",
    }


def test_bytes_that_are_no_text_are_shown() -> None:
    odd = entry("lease.refused")
    odd["MESSAGE"] = b"\xff\x1b[2J"
    [record] = records([odd], Wanted())
    assert isinstance(record, Record)
    assert record.message == "�\x1b[2J"


def test_since() -> None:
    now = datetime.now(UTC)
    assert abs(since("2h") - (now - timedelta(hours=2))) < timedelta(seconds=5)
    assert since("2026-01-31").date().isoformat() == "2026-01-31"
    with pytest.raises(click.BadParameter):
        since("yesterday")


def test_a_user_that_is_not_there() -> None:
    done = CliRunner().invoke(isoctl, ["log", "--user", "no-such-user"])
    assert done.exit_code == 2
    assert "no user" in done.output
