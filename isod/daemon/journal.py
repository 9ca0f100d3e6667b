"""The log: grants, releases and denials, one record each, with a MESSAGE_ID.

Values are fields of their own and never part of a format; on a terminal or pipe control characters
are escaped, so that a device or client name cannot forge a line.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol

from isod.model.notice import KINDS

# One id per kind of record, for ever (journalctl MESSAGE_ID=…, catalog entries). Those of events
# stand with them.
MESSAGE_IDS = {
    "lease.refused": "91b4d8e27f6c4a35bd0e8a3c7f15e264",
    "admin.asked": "a4e0c7d1f35b4c0e9e62d8137bf09c5a",
    "device.ahead": "0811af0263a840fab59e399db5597140",
    "device.quarantined": "8e41d7c2b5f04a9693ac1f7e0d62b8f5",
    "step.failed": "b7d0c4e19a3f4e86952f8d1b6c0e7a38",
    "connection.refused": "6c2d91f7b0e84a3f9d15c7a2e48b06d3",
    "daemon": "47c9e2f0b6a84d13a5d7f1c38e0b9264",
    "policy": "d25e8b7a01c34f69ae4b6f0d9c1873e5",
    "survey": "6c09e5d8b2f7431a8e54a1d3f9b07c62",
    **{name: kind.message_id for name, kind in KINDS.items() if kind.message_id is not None},
}
_PRIORITY = {
    "lease.refused": 5,
    "admin.asked": 5,
    "device.ahead": 4,
    "device.quarantined": 3,
    "connection.refused": 5,
    "step.failed": 4,
    "survey": 4,
    **{name: kind.priority for name, kind in KINDS.items()},
}


class Journal(Protocol):
    """Where records go. ``record`` raises OSError when it cannot take one."""

    def record(self, kind: str, message: str, **fields: str | int) -> None: ...


def escaped(text: str) -> str:
    """The text with control characters written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class StreamJournal:
    """Lines on standard error, for the foreground."""

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        if kind not in MESSAGE_IDS:
            raise KeyError(f"{kind} has no MESSAGE_ID")
        extra = "".join(f" {key.lower()}={escaped(str(value))}" for key, value in fields.items())
        print(f"isod: {kind}: {escaped(message)}{extra}", file=sys.stderr, flush=True)


class SystemJournal:
    """Structured records in systemd's journal."""

    def __init__(self) -> None:
        from systemd import journal  # type: ignore[attr-defined]  # noqa: PLC0415 - only where there is a journal

        self._send = journal.send

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        self._send(
            message,
            MESSAGE_ID=MESSAGE_IDS[kind],
            PRIORITY=str(_PRIORITY.get(kind, 6)),
            SYSLOG_IDENTIFIER="isod",
            ISOD_KIND=kind,
            **{f"ISOD_{key.upper()}": str(value) for key, value in fields.items()},
        )


class SteadyJournal:
    """Another journal, and what goes on without it: a record that it cannot take (journald refuses,
    there is no file descriptor for a long one, nobody reads standard error) is counted, and how
    many were lost is said before the next one that it takes.

    A record is made in the middle of an event's effects, and none of them may be left out for it.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lost = 0
        self._why = ""

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        try:
            if self._lost:
                text = f"{self._lost} records of the log were lost: {self._why}"
                self._journal.record("daemon", text)
                self._lost = 0
            self._journal.record(kind, message, **fields)
        except OSError as error:
            self._lost += 1
            self._why = error.strerror or str(error)


def open_journal() -> Journal:
    """The system's journal when standard error goes there, else the stream; it raises nothing."""
    return SteadyJournal(SystemJournal() if os.environ.get("JOURNAL_STREAM") else StreamJournal())
