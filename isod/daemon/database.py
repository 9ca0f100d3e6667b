"""Opening an embedded database: one daemon at a time, and no guess about what another wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path


class StoreError(Exception):
    """The store cannot be used. The message says what to do."""


class UnreadableError(StoreError):
    """The file is damaged, or is no database at all."""


# Where the machine is at fault, or another daemon, and not what was written.
_ELSEWHERE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
    }
)


def as_store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """What a failure means: UnreadableError if the file is at fault."""
    number = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if number in _ELSEWHERE:
        return StoreError(f"{path}: {error} (is another isod running?)")
    return UnreadableError(f"{path}: {error}")


def was_set_aside(path: Path) -> bool:
    """Whether a damaged database of this name was moved out of the way before."""
    return _aside(path, 1).exists()


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.unreadable-{number}")


def set_aside(path: Path) -> Path:
    """Move a damaged database out of the way, with what belongs to it, for whoever wants to look.

    Returns where it is now. Raises StoreError.
    """
    number = 1
    while (aside := _aside(path, number)).exists():
        number += 1
    try:
        path.rename(aside)
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: damaged, and cannot be moved away: {error}") from error
    return aside


def open_database(
    path: Path,
    readable: Collection[int],
    version: int,
    tables: str,
    *,
    flushed: bool,
    whole: bool = False,
) -> sqlite3.Connection:
    """Open or make a database with these tables and mark it with ``version``.

    ``readable`` are the versions that may be found. With ``flushed`` what was written survives a
    crash of the machine, without it one of the daemon. ``whole``: it was made before, all of it at
    once, so that an empty one is damaged. Raises StoreError, UnreadableError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {error}") from error
    # Bytes that are no text are a fault of their row, to be told as that.
    database.text_factory = lambda data: data.decode(errors="backslashreplace")
    try:
        database.execute(f"PRAGMA synchronous={'FULL' if flushed else 'OFF'}")
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if whole and not found:
            raise UnreadableError(f"{path}: it is empty")
        if found not in {0, *readable}:
            raise StoreError(f"{path}: written by another version ({found})")
        database.executescript(f"BEGIN EXCLUSIVE; {tables} PRAGMA user_version={version}; COMMIT;")
        check = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise UnreadableError(f"{path}: {check}")
    except sqlite3.Error as error:
        database.close()
        raise as_store_error(path, error) from error
    except StoreError:
        database.close()
        raise
    return database
