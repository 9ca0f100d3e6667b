"""The rows that outlive the daemon: leases, in an embedded database, and with them quarantine.

The folder lies under /run: file descriptors do not survive a reboot, and neither need the leases.
So the database asks for no disk flush: a killed daemon loses nothing that was written, and a call
here takes microseconds and may run on the event loop. Quarantine has a database of its own.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pydantic import TypeAdapter

from isod.model.lease import Lease

from .database import StoreError, UnreadableError, open_database, set_aside
from .kept_store import TABLE, KeptStore
from .quarantine_store import QuarantineStore
from .rows import UnreadableRow, read_rows

__all__ = ["Store", "StoreError"]

_LEASE = TypeAdapter(Lease)
_VERSION = 2
_BY_GROUP = 1  # had a table of quarantined groups, which is kept until its rows are carried over
_EVENTS_PER_RUN = 1_000_000_000


class Store:
    """Leases by id, the next lease number, and in ``kept`` what is bound ahead. ``quarantine`` is
    kept in ``lasting``, a folder that outlives a reboot; without one it lies beside the leases.
    ``damage`` says that the leases could not be read at all, and where their file is now."""

    def __init__(self, folder: Path, lasting: Path | None = None) -> None:
        """Open or make the databases. Raises StoreError."""
        path = folder / "ledger.sqlite"
        self.damage: str | None = None
        try:
            self._db = _open(path)
        except UnreadableError as error:
            self.damage = f"{error}; it is {set_aside(path)} now"
            self._db = _open(path)
        self.kept = KeptStore(self._db)
        try:
            self.quarantine = QuarantineStore(lasting or folder)
        except StoreError:
            self._db.close()
            raise

    def next_number(self) -> int:
        """A number that no lease had before, not even before a restart."""
        row = self._db.execute(
            "INSERT INTO counter VALUES ('lease', 1) "
            "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
        ).fetchone()
        return int(row[0])

    def begin_events(self, at_least: int) -> int:
        """The number before the first event of this run of the daemon: ``at_least``, and far more
        than any event had before a restart, even if the clock was set back meanwhile."""
        row = self._db.execute(
            "INSERT INTO counter VALUES ('events', ?1) ON CONFLICT (name) "
            "DO UPDATE SET value = max(value + ?2, ?1) RETURNING value",
            (at_least, _EVENTS_PER_RUN),
        ).fetchone()
        return int(row[0])

    def remember(self, lease: Lease) -> None:
        self._db.execute(
            "INSERT INTO lease VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (lease.id, _LEASE.dump_json(lease).decode()),
        )

    def forget(self, lease: str) -> None:
        self._db.execute("DELETE FROM lease WHERE id = ?", (lease,))

    def leases(self) -> tuple[tuple[Lease, ...], tuple[UnreadableRow, ...]]:
        """All rows: the leases, and what cannot be read, of which nothing may be guessed."""
        rows = self._db.execute("SELECT id, body FROM lease ORDER BY rowid").fetchall()
        return read_rows(rows, _LEASE, lambda lease: lease.id)

    def set_aside(self, row: UnreadableRow) -> None:
        """Keep a row that cannot be read for whoever wants to look, and believe it no more."""
        self._db.execute("INSERT INTO unreadable VALUES (?, ?, ?)", (row.name, row.body, row.why))
        self._db.execute("DELETE FROM lease WHERE id = ?", (row.name,))

    def groups_quarantined(self) -> dict[int, str]:
        """What a former version put in quarantine, by IOMMU group: why."""
        return dict(self._db.execute("SELECT grp, why FROM quarantine").fetchall())

    def carried_over(self, group: int) -> None:
        """The devices of such a group are in quarantine by themselves now."""
        self._db.execute("DELETE FROM quarantine WHERE grp = ?", (group,))

    def close(self) -> None:
        self.quarantine.close()
        self._db.close()


def _open(path: Path) -> sqlite3.Connection:
    return open_database(
        path,
        {_BY_GROUP, _VERSION},
        _VERSION,
        "CREATE TABLE IF NOT EXISTS lease (id TEXT PRIMARY KEY, body TEXT NOT NULL);"
        "CREATE TABLE IF NOT EXISTS quarantine (grp INTEGER PRIMARY KEY, why TEXT);"
        "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER);"
        "CREATE TABLE IF NOT EXISTS unreadable (id TEXT, body TEXT, why TEXT);" + TABLE,
        flushed=False,
    )
