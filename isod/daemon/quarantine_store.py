"""Quarantine on disk: unlike leases it outlives a reboot, so each change is flushed.

That may take the disk's time, on the event loop; quarantine is rare, and nothing may be given out
before it is on record.
"""

from __future__ import annotations

from pathlib import Path

from isod.model.address import Address, BadAddressError
from isod.model.quarantine import QuarantineEntry

from .database import StoreError, open_database

_VERSION = 1


class QuarantineStore:
    """The devices in quarantine, by address."""

    def __init__(self, folder: Path) -> None:
        """Open or make the database. Raises StoreError."""
        self._db = open_database(
            folder / "quarantine.sqlite",
            {_VERSION},
            _VERSION,
            "CREATE TABLE IF NOT EXISTS quarantine (address TEXT PRIMARY KEY,"
            " vendor TEXT NOT NULL, product TEXT NOT NULL, why TEXT NOT NULL);",
            flushed=True,
        )

    def add(self, entry: QuarantineEntry) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?)",
            (str(entry.address), entry.vendor, entry.product, entry.why),
        )

    def remove(self, address: Address) -> None:
        self._db.execute("DELETE FROM quarantine WHERE address = ?", (str(address),))

    def entries(self) -> tuple[QuarantineEntry, ...]:
        """All of them. Raises StoreError for a row that cannot be read: nobody may guess then."""
        rows = self._db.execute(
            "SELECT address, why, vendor, product FROM quarantine ORDER BY address"
        ).fetchall()
        try:
            return tuple(QuarantineEntry(Address.parse(row[0]), *row[1:]) for row in rows)
        except BadAddressError as error:
            raise StoreError(f"quarantine: row is corrupt: {error}") from error

    def close(self) -> None:
        self._db.close()
