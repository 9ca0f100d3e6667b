"""Opening an embedded database: one daemon at a time, and no guess about what another wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path


class StoreError(Exception):
    """The store cannot be used. The message says what to do."""


def open_database(
    path: Path, readable: Collection[int], version: int, tables: str, *, flushed: bool
) -> sqlite3.Connection:
    """Open or make a database with these tables and mark it with ``version``.

    ``readable`` are the versions that may be found. With ``flushed`` what was written survives a
    crash of the machine, without it one of the daemon. Raises StoreError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {error}") from error
    try:
        database.execute(f"PRAGMA synchronous={'FULL' if flushed else 'OFF'}")
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found not in {0, *readable}:
            raise StoreError(f"{path}: written by another version ({found})")
        database.executescript(f"BEGIN EXCLUSIVE; {tables} PRAGMA user_version={version}; COMMIT;")
    except sqlite3.Error as error:
        database.close()
        raise StoreError(f"{path}: {error} (is another isod running?)") from error
    except StoreError:
        database.close()
        raise
    return database
