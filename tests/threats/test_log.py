"""Names that are meant to forge records of the log, or to move a terminal's cursor."""

from __future__ import annotations

from contextlib import redirect_stderr
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from click.testing import CliRunner

from isod.cli.command import log
from isod.cli.isoctl import isoctl
from isod.client.errors import Refused
from isod.daemon.journal import StreamJournal, SystemJournal
from tests.walk.stage import Stage

FORGED = "x\nisod: lease.granted: forged\x1b[31m\u2028\x9b1m"


@pytest.mark.slow
def test_log_injection_by_a_client(stage: Stage) -> None:
    """Words that a client chose are one entry, escaped, whether it is granted or refused."""
    said = len(stage.daemon.log)
    lease = stage.control.acquire([stage.machine.device("single")], key=FORGED)
    with lease, pytest.raises(Refused):
        stage.control.acquire([stage.machine.device("pair")], key=FORGED)
    stage.until_quiet()
    entries = stage.daemon.log[said:]
    assert any("lease.refused" in entry and "forged" in entry for entry in entries)
    assert all(entry.startswith("isod: ") for entry in entries)
    assert not [entry for entry in entries if entry.startswith("isod: lease.granted: forged")]
    assert not [entry for entry in entries if not entry.isprintable()]


def test_log_injection() -> None:
    """Message and fields alike."""
    with redirect_stderr(StringIO()) as log:
        StreamJournal().record("lease.refused", FORGED, unit=FORGED, uid=7)
    [entry] = log.getvalue().splitlines()
    assert entry.startswith("isod: lease.refused: x\\nisod: lease.granted: forged\\x1b[31m")
    assert entry.isprintable()


def test_log_injection_into_the_systems_journal() -> None:
    """Each value is a field of its own, none is a format, and kind and id are isod's."""
    sent: list[tuple[str, dict[str, str]]] = []
    journal = SystemJournal()
    journal._send = lambda message, **fields: sent.append((message, fields))
    journal.record("lease.refused", "%s" + FORGED, unit=FORGED, message_id="x", kind_="y")
    [(message, fields)] = sent
    assert message == "%s" + FORGED
    assert fields["ISOD_UNIT"] == FORGED
    assert fields["ISOD_KIND"] == "lease.refused"
    assert len(fields["MESSAGE_ID"]) == 32


def entry(uid: int, message: str) -> dict[str, Any]:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    return {
        "__REALTIME_TIMESTAMP": at,
        "_UID": uid,
        "MESSAGE": message,
        "ISOD_KIND": "lease.granted",
    }


def test_log_injection_under_the_name_of_isod(monkeypatch: pytest.MonkeyPatch) -> None:
    """``logger`` writes any field; the journal itself says who wrote."""
    entries = [entry(1000, "of a user"), entry(0, f"of isod {FORGED}")]
    monkeypatch.setattr(log, "_entries", lambda *_, **__: iter(entries))
    shown = CliRunner().invoke(isoctl, ["log"])
    [line] = shown.output.splitlines()
    assert "of isod x\\nisod" in line
    assert line.isprintable()
