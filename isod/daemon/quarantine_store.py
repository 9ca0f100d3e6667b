"""Quarantine on disk: unlike leases it outlives a reboot, so each change is flushed.

That may take the disk's time, on the event loop; quarantine is rare, and nothing may be given out
before it is on record.

What cannot be read is never guessed. A row of a device that lost the rest keeps the device in
quarantine; where no device can be read, of a row or of the whole file, a row of its own says so:
``_UNKNOWN``, until an administrator removes it. It is in the new file before that has its name, so
that isod may be killed anywhere and no start finds an empty file in place of a lost one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from isod.model.address import Address, BadAddressError
from isod.model.quarantine import QuarantineEntry

from .database import (
    StoreError,
    UnreadableError,
    as_store_error,
    open_database,
    set_aside,
    was_set_aside,
)

_VERSION = 1
_UNKNOWN = "*"  # no address; former versions do not start with it, which is right
_TABLE = (
    "CREATE TABLE IF NOT EXISTS quarantine (address TEXT PRIMARY KEY,"
    " vendor TEXT NOT NULL, product TEXT NOT NULL, why TEXT NOT NULL);"
)
_LOST = "the record of what was in quarantine is damaged and lies aside"
_ROW_LOST = "a record of a device in quarantine was damaged; which device, it does not say"
_REST_LOST = "its record of quarantine was damaged; the reason is lost"


class QuarantineStore:
    """The devices in quarantine, by address. ``unknown`` says why these may not be all, None if
    they are. ``damage`` are sentences about what was found damaged at this start."""

    def __init__(self, folder: Path) -> None:
        """Open or make the database. Raises StoreError."""
        path = folder / "quarantine.sqlite"
        damage: list[str] = []
        try:
            self._db = _open(path)
            rows = self._read(path)
        except UnreadableError as error:
            damage.append(f"{error}; it is {set_aside(path)} now")
            self._db = _open(path)
            rows = self._read(path)
        self.unknown: str | None = None
        self._entries: dict[Address, QuarantineEntry] = {}
        for row in rows:
            damage += self._take(row)
        self.damage = tuple(damage)

    def add(self, entry: QuarantineEntry) -> None:
        self._write(str(entry.address), entry.vendor, entry.product, entry.why)

    def remove(self, address: Address | None) -> None:
        """Forget a device, or, with None, that some are not known."""
        name = _UNKNOWN if address is None else str(address)
        self._db.execute("DELETE FROM quarantine WHERE address = ?", (name,))

    def entries(self) -> tuple[QuarantineEntry, ...]:
        """All that were on record when the store was opened."""
        return tuple(self._entries[address] for address in sorted(self._entries))

    def close(self) -> None:
        self._db.close()

    def _read(self, path: Path) -> list[tuple[object, ...]]:
        """Raises StoreError, and UnreadableError with the database closed."""
        try:
            return self._db.execute(
                "SELECT rowid, address, vendor, product, why FROM quarantine"
            ).fetchall()
        except sqlite3.Error as error:
            self._db.close()
            raise as_store_error(path, error) from error

    def _take(self, row: tuple[object, ...]) -> Iterable[str]:
        """Take in a row, and put right what of it cannot be read; what there was to put right."""
        number, name, *rest = row
        if name == _UNKNOWN:
            self.unknown = rest[2] if isinstance(rest[2], str) else _LOST
            return ()
        try:
            address = Address.parse(name) if isinstance(name, str) else None
        except BadAddressError:
            address = None
        if address is None or str(address) != name:
            # First the row that says so: killed in between, both are found.
            self.unknown = _ROW_LOST
            self._write(_UNKNOWN, "", "", _ROW_LOST)
            self._db.execute("DELETE FROM quarantine WHERE rowid = ?", (number,))
            return (f"a row without an address is not kept: {row[1:]!r}",)
        vendor, product, why = (one if isinstance(one, str) else None for one in rest)
        entry = QuarantineEntry(address, why or _REST_LOST, vendor or "", product or "")
        self._entries[address] = entry
        if None in {vendor, product, why}:
            self.add(entry)
            return (f"the row of {address} is damaged: {row[2:]!r}",)
        return ()

    def _write(self, *row: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?)", row)


def _open(path: Path) -> sqlite3.Connection:
    """A file that is not there is made beside its place first: an empty one is damaged, then."""
    if not path.exists():
        beside = path.with_name(f"{path.name}.new")
        lost = f"INSERT INTO quarantine VALUES ('{_UNKNOWN}', '', '', '{_LOST}');"
        try:
            for ending in ("", "-wal", "-shm"):
                path.with_name(path.name + ".new" + ending).unlink(missing_ok=True)
                path.with_name(path.name + ending).unlink(missing_ok=True)
            tables = _TABLE + (lost if was_set_aside(path) else "")
            open_database(beside, (), _VERSION, tables, flushed=True).close()
            beside.rename(path)
        except OSError as error:
            raise StoreError(f"{path}: {error}") from error
    return open_database(path, {_VERSION}, _VERSION, _TABLE, flushed=True, whole=True)
