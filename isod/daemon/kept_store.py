"""The rows of what is bound ahead, beside the leases: a reboot puts the devices back by itself."""

from __future__ import annotations

import sqlite3

from pydantic import TypeAdapter, ValidationError

from isod.model.ahead import Kept

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

    def rows(self) -> tuple[tuple[Kept, ...], tuple[tuple[str, str], ...]]:
        """All rows; and of what cannot be read the address and what is wrong with it, of which
        nothing may be guessed: such a device stays where it is."""
        found: list[Kept] = []
        unreadable: list[tuple[str, str]] = []
        for name, body in self._db.execute("SELECT address, body FROM kept ORDER BY rowid"):
            try:
                kept = _KEPT.validate_json(body)
                if str(kept.address) != name:
                    raise ValueError(f"it is the row of {kept.address}")
                found.append(kept)
            except (ValidationError, ValueError) as error:
                unreadable.append((str(name), str(error).partition("\n")[0]))
        return tuple(found), tuple(unreadable)
