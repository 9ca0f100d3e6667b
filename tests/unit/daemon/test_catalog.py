"""The journal's catalogue: each kind of record has its entry, and no entry is without a record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isod.daemon.journal import MESSAGE_IDS, StreamJournal

CATALOG = Path(__file__).parents[3] / "systemd" / "isod.catalog"
# What records have as ISOD_… fields beside their message (daemon/publisher.py, daemon/audit.py).
FIELDS = {
    "LEASE", "UID", "PID", "UNIT", "CGROUP", "RULE", "HAND_OVER", "DEVICES", "DEVICE", "REASON",
    "METHOD", "ADMIN_UID", "ADMIN_PID", "BY",
}  # fmt: skip


def entries() -> dict[str, tuple[str, str]]:
    """Header and body by id."""
    found = {}
    for entry in f"\n{CATALOG.read_text()}".split("\n-- ")[1:]:
        name, _, rest = entry.partition("\n")
        header, _, body = rest.partition("\n\n")
        assert re.fullmatch(r"[0-9a-f]{32}", name)
        assert name not in found, "an id stands twice"
        found[name] = (header, body)
    return found


def test_every_record_has_an_entry() -> None:
    known = entries()
    assert not [kind for kind, name in MESSAGE_IDS.items() if name not in known]
    assert len(known) == len(set(MESSAGE_IDS.values()))


def test_every_entry_says_something() -> None:
    for header, body in entries().values():
        assert "Subject: " in header
        assert "Defined-By: isod" in header
        assert len(body) > 30
        assert set(re.findall(r"@ISOD_([A-Z_]+)@", header + body)) <= FIELDS


def test_lines_are_not_too_long() -> None:
    assert max(map(len, CATALOG.read_text().splitlines())) <= 105


def test_a_kind_without_an_id_is_noticed_without_a_journal() -> None:
    """What would fail under the system's journal fails in every test as well."""
    with pytest.raises(KeyError):
        StreamJournal().record("lease.unheard", "never said")
