"""Opening an embedded database: one daemon at a time, and no guess about what another wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path


class StoreError(Exception):
    """The store cannot be used. The message says what to do."""


class UnreadableError(StoreError):
    """The file is damaged, or is no database at all."""


def set_aside(path: Path) -> Path:
    """Move a damaged database out of the way, with what belongs to it, for whoever wants to look.

    Returns where it is now. Raises StoreError.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: damaged, and cannot be moved away: {error}") from error
    return aside


def open_database(
    path: Path, readable: Collection[int], version: int, tables: str, *, flushed: bool
) -> sqlite3.Connection:
    """Open or make a database with these tables and mark it with ``version``.

    ``readable`` are the versions that may be found. With ``flushed`` what was written survives a
    crash of the machine, without it one of the daemon. Raises StoreError, UnreadableError.
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
        check = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise UnreadableError(f"{path}: {check}")
    except sqlite3.OperationalError as error:
        database.close()
        raise StoreError(f"{path}: {error} (is another isod running?)") from error
    except sqlite3.Error as error:
        database.close()
        raise UnreadableError(f"{path}: {error}") from error
    except StoreError:
        database.close()
        raise
    return database
