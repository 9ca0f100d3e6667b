"""The rows of what is bound ahead, beside the leases: a reboot puts the devices back by itself."""

from __future__ import annotations

import sqlite3

from pydantic import TypeAdapter

from isod.model.ahead import Kept

from .rows import UnreadableRow, read_rows

KeptRows = tuple[tuple[Kept, ...], tuple[UnreadableRow, ...]]

_KEPT = TypeAdapter(Kept)
TABLE = "CREATE TABLE IF NOT EXISTS kept (address TEXT PRIMARY KEY, body TEXT NOT NULL);"


class KeptStore:
    """The table in the leases' database, which is the store's to close."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def remember(self, kept: Kept) -> None:
        self._db.execute(
            "INSERT INTO kept VALUES (?, ?) "
            "ON CONFLICT (address) DO UPDATE SET body = excluded.body",
            (str(kept.address), _KEPT.dump_json(kept).decode()),
        )

    def forget(self, kept: Kept) -> None:
        self._db.execute("DELETE FROM kept WHERE address = ?", (str(kept.address),))

    def set_aside(self, row: UnreadableRow) -> None:
        """Keep a row that cannot be read for whoever wants to look, and believe it no more."""
        self._db.execute("INSERT INTO unreadable VALUES (?, ?, ?)", (row.name, row.body, row.why))
        self._db.execute("DELETE FROM kept WHERE address = ?", (row.name,))

    def rows(self) -> KeptRows:
        """All rows, and what cannot be read, of which nothing may be guessed."""
        rows = self._db.execute("SELECT address, body FROM kept ORDER BY rowid")
        return read_rows(rows, _KEPT, lambda kept: str(kept.address))
