"""The rows that outlive the daemon: leases and quarantines, in an embedded database.

The folder lies under /run: file descriptors do not survive a reboot, and neither need the leases.
So the database asks for no disk flush (``synchronous=OFF``): a killed daemon loses nothing that
was written, and a call here takes microseconds and may run on the event loop.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from isod.model.lease import Lease

_LEASE = TypeAdapter(Lease)
_VERSION = 1


class StoreError(Exception):
    """The store cannot be used. The message says what to do."""


class Store:
    """Leases by id, quarantined groups, and the next lease number."""

    def __init__(self, folder: Path) -> None:
        """Open or make the database. Raises StoreError."""
        path = folder / "ledger.sqlite"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise StoreError(f"{path}: written by another version ({found})")
            self._db.executescript(
                "BEGIN EXCLUSIVE;"
                "CREATE TABLE IF NOT EXISTS lease (id TEXT PRIMARY KEY, body TEXT NOT NULL);"
                "CREATE TABLE IF NOT EXISTS quarantine (grp INTEGER PRIMARY KEY, why TEXT);"
                "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER);"
                f"PRAGMA user_version={_VERSION};"
                "COMMIT;"
            )
        except sqlite3.Error as error:
            self._db.close()
            raise StoreError(f"{path}: {error} (is another isod running?)") from error
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

    def remember(self, lease: Lease) -> None:
        self._db.execute(
            "INSERT INTO lease VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (lease.id, _LEASE.dump_json(lease).decode()),
        )

    def forget(self, lease: str) -> None:
        self._db.execute("DELETE FROM lease WHERE id = ?", (lease,))

    def quarantine(self, group: int, why: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?)", (group, why))

    def clear_quarantine(self, group: int) -> None:
        self._db.execute("DELETE FROM quarantine WHERE grp = ?", (group,))

    def leases(self) -> tuple[Lease, ...]:
        """All rows. Raises StoreError for one that cannot be read: nobody may guess then."""
        rows = self._db.execute("SELECT id, body FROM lease ORDER BY rowid").fetchall()
        found: list[Lease] = []
        for name, body in rows:
            try:
                found.append(_LEASE.validate_json(body))
            except ValidationError as error:
                raise StoreError(f"lease {name}: row is corrupt: {error}") from error
        return tuple(found)

    def quarantined(self) -> dict[int, str]:
        return dict(self._db.execute("SELECT grp, why FROM quarantine").fetchall())

    def close(self) -> None:
        self._db.close()
