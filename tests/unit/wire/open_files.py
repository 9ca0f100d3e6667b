"""What this process has open, to be compared before and after."""

from __future__ import annotations

from pathlib import Path


def open_fds() -> set[tuple[str, str]]:
    """The fds of this process, with what they lead to."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add((entry.name, str(entry.readlink())))
        except FileNotFoundError:
            continue
    return found


def leads_to(fd: int) -> str:
    """What an fd leads to."""
    return str(Path(f"/proc/self/fd/{fd}").readlink())
