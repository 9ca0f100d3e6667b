"""What changed on a simulated host, for everybody who watches it: uevents, as it were.

One line per change: a PCI name. The file is replaced when it has grown long, and a reader who
finds another file than the one that he read looks at everything again.
"""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 1 << 18


class JournalReader:
    """Reads what is written after it was made."""

    def __init__(self, journal: Path) -> None:
        self._path = journal / "events"
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_CREAT, 0o644)
        self._offset = os.fstat(self._descriptor).st_size

    def read(self) -> tuple[frozenset[str], bool]:
        """The names written since the last call, and whether some may have been missed."""
        names: list[str] = []
        while chunk := os.pread(self._descriptor, 1 << 16, self._offset):
            whole = chunk[: chunk.rfind(b"\n") + 1]
            if not whole:
                break
            self._offset += len(whole)
            names += whole.decode().split()
        return frozenset(names), self._reopened()

    def _reopened(self) -> bool:
        fresh = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        if os.path.sameopenfile(fresh, self._descriptor):
            os.close(fresh)
            return False
        os.close(self._descriptor)
        self._descriptor = fresh
        self._offset = os.fstat(fresh).st_size
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def write(journal: Path, name: str) -> None:
    """Tell the watchers to look at a device again."""
    path = journal / "events"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(descriptor).st_size > LONGEST:
            aside = path.with_name("events.new")
            aside.write_text("")
            aside.rename(path)
        # A reader of the replaced file finds the line there and the new file after it.
        os.write(descriptor, f"{name}\n".encode())
    finally:
        os.close(descriptor)
