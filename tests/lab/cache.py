"""Where the lab keeps what it downloads and builds: outside the checkout, never half-made."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

CACHE_VARIABLE = "ISOD_LAB_CACHE"


def say(text: str) -> None:
    """Progress of a long step, for whoever watches the terminal."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def cache_directory() -> Path:
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache").absolute() / "isod-lab"


def short_hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one run at a time makes what *name* stands for. The lock goes with the process."""
    directory = cache_directory() / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / name, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is busy with {name}: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def guest_slot(stopped: threading.Event) -> Iterator[bool]:
    """One of the machine's few slots for guests, whichever run they belong to.

    Guests in software emulation that share a core with too many others lose their timers and
    then their tests. Yields false if *stopped* came first.
    """
    directory = cache_directory() / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Who holds the turn gets the next free slot; without it a run with many guests would
        # take each slot again that it has just left.
        with open(directory / "guest-turn", "w") as turn:
            slots = [stack.enter_context(open(path, "w")) for path in _slot_files(directory)]
            free = _await_lock([turn], stopped) and _await_lock(slots, stopped)
        yield free


def guest_limit() -> int:
    """How many guests run at a time: two even on a small machine, so that one can boot."""
    return int(os.environ.get("ISOD_LAB_GUESTS") or max(2, (os.cpu_count() or 1) // 2))


def _slot_files(directory: Path) -> list[Path]:
    return [directory / f"guest-{number}" for number in range(guest_limit())]


def _await_lock(handles: Sequence[TextIO], stopped: threading.Event) -> bool:
    """Hold one of the locks, whichever is free first."""
    while not stopped.is_set():
        if any(_try_lock(handle) for handle in handles):
            return True
        # No event tells that one of several locks of others is free.
        stopped.wait(0.2)
    return False


def _try_lock(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_entry(entry: Path, make: Callable[[Path], None]) -> Path:
    """Fill a new directory with *make* and only then give it its name.

    Whoever finds the name finds all of it, also after a kill in the middle.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        make(unfinished)
        unfinished.chmod(0o755)
        if entry.exists():
            shutil.rmtree(entry)
        unfinished.rename(entry)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return entry


def sweep_unfinished(directory: Path, name: str) -> None:
    """Remove what killed runs left of the entries `NAME-…`. Call it with that name's lock held."""
    for leftover in directory.glob(f".{name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
