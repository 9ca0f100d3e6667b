"""isod's records in the system's journal, read back (sd-journal(3), journal fields ``ISOD_…``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from isod.model.address import Address

IDENTIFIER = "isod"
ROOT = 0
_PREFIX = "ISOD_"


@dataclass(frozen=True, slots=True)
class Record:
    """One record. ``fields`` are those of isod's own, by their names in lower case."""

    at: datetime
    kind: str
    message: str
    fields: Mapping[str, str]

    def as_json(self) -> dict[str, object]:
        return {
            "at": self.at.isoformat(),
            "kind": self.kind,
            "message": self.message,
            **self.fields,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; everything that is said has to match, None matches all."""

    lease: str | None = None
    device: Address | None = None
    uid: int | None = None
    kind: str | None = None

    def matches(self, record: Record) -> bool:
        """``kind`` may be a family: "lease" is every kind that begins with "lease."."""
        fields = record.fields
        if self.lease is not None and fields.get("lease") != self.lease:
            return False
        if self.uid is not None and str(self.uid) not in _whose(fields):
            return False
        if self.kind is not None and not f"{record.kind}.".startswith(f"{self.kind}."):
            return False
        named = f"{fields.get('devices', '')} {fields.get('device', '')}".split()
        return self.device is None or str(self.device) in named


def _whose(fields: Mapping[str, str]) -> tuple[str | None, ...]:
    """The user that a record is about, and the administrator that it is about."""
    return fields.get("uid"), fields.get("admin_uid")


def records(entries: Iterable[Mapping[str, Any]], wanted: Wanted) -> Iterator[Record]:
    """The records among a journal's entries, in their order. Anybody may write under our
    identifier, and with our fields; who did is the journal's own word (systemd.journal-fields(7):
    names that begin with an underscore cannot be chosen), and isod is root."""
    for entry in entries:
        kind = entry.get("ISOD_KIND")
        if not isinstance(kind, str) or entry.get("_UID") not in (ROOT, str(ROOT)):
            continue
        record = Record(
            at=entry["__REALTIME_TIMESTAMP"],
            kind=kind,
            message=_text(entry.get("MESSAGE", "")),
            fields={
                name.removeprefix(_PREFIX).lower(): _text(value)
                for name, value in sorted(entry.items())
                if name.startswith(_PREFIX) and name != "ISOD_KIND"
            },
        )
        if wanted.matches(record):
            yield record


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
