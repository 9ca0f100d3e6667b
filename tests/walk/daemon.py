"""A daemon under test: a process of its own, whose log and tables are looked at from outside."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, Protocol

from tests.lab.selection import guest_here

from .manager import Manager

_PLACE_FDS = Path(__file__).with_name("place_fds.py")

# A guest without hardware help is ten times slower, its host may be busy, and each look takes time
# from what is looked at.
PATIENCE = 90.0 if guest_here() else 20.0
_LOOK_MILLISECONDS = 20 if guest_here() else 2


class Process(Protocol):
    """What is needed of ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...
    @property
    def stderr(self) -> IO[str] | None: ...
    @property
    def returncode(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


Launch = Callable[[Sequence[str], Manager | None], Process]


def as_a_program(arguments: Sequence[str], manager: Manager | None = None) -> Process:
    """Start ``isod serve``, by hand or as a service manager does."""
    command = [sys.executable, "-m", "isod.cli.isod", "serve", *arguments]
    environment, handed = ({}, []) if manager is None else manager.start_with()
    return subprocess.Popen(
        [sys.executable, str(_PLACE_FDS), *map(str, handed), "--", *command]
        if manager is not None
        else command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        pass_fds=handed,
    )


class Daemon:
    """One run of ``isod serve``. ``log`` is what it has said on standard error so far."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self.log: list[str] = []
        self._ended = False
        self._asked = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until_it_listens(self) -> None:
        self.wait_for("daemon: listening")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._news:
                self.log.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    # --- its log --------------------------------------------------------------------------------

    def wait_for(self, *words: str, after: int = 0) -> str:
        """Wait for a line of the log (from line ``after`` on) that has all the words."""

        def found() -> str | None:
            for line in self.log[after:]:
                if all(word in line for word in words):
                    return line
            return None

        with self._news:
            self._news.wait_for(lambda: found() is not None or self._ended, PATIENCE)
            line = found()
        assert line is not None, f"never said {words}:\n" + "\n".join(self.log[-40:])
        return line

    @property
    def tracebacks(self) -> list[str]:
        return [line for line in self.log if "Traceback" in line or "Error:" in line]

    # --- its tables -----------------------------------------------------------------------------

    def fds(self) -> Counter[str]:
        """Its open files by target; of sockets and pipes only the type, since numbers differ."""
        targets: Counter[str] = Counter()
        for place in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                target = str(place.readlink())
            except FileNotFoundError:
                continue
            kind = target.partition(":[")[0]
            targets[kind if kind in {"socket", "pipe"} else target] += 1
        return targets

    @property
    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    @property
    def resident(self) -> int:
        """Resident memory of its own, in bytes: pages of files do not count."""
        words = Path(f"/proc/{self.pid}/statm").read_text().split()
        return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGESIZE")

    def children(self) -> list[int]:
        """Its child processes, the dead that it has not reaped among them."""
        found: list[int] = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
        return found

    @property
    def alive(self) -> bool:
        return not _readable(self._pidfd, 0)

    def until(self, true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Look until something is true; fails at once when the daemon ends meanwhile."""
        deadline = monotonic() + seconds
        while not true():
            assert not _readable(self._pidfd, _LOOK_MILLISECONDS), "\n".join(self.log[-40:])
            assert monotonic() < deadline, f"{what}:\n" + "\n".join(self.log[-40:])

    # --- its end --------------------------------------------------------------------------------

    def reload(self) -> None:
        """Ask it to read the policy anew."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGHUP)

    def ask_to_stop(self) -> None:
        """Once: asked again, it does not wait for what is under way."""
        if self.alive and not self._asked:
            self._asked = True
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def stop(self, seconds: float = PATIENCE) -> None:
        """Ask it to stop. It has to exit 0, and without a traceback."""
        self.ask_to_stop()
        self._wait(seconds)
        assert self._process.returncode == 0, "\n".join(self.log[-60:])
        assert not self.tracebacks, "\n".join(self.log[-60:])

    def kill(self) -> None:
        """SIGKILL; it may have ended by itself before."""
        if self.alive:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._wait(PATIENCE)

    def _wait(self, seconds: float) -> None:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(
                f"still running {seconds} seconds after SIGTERM:\n" + "\n".join(self.log[-40:])
            ) from None
        finally:
            self._reader.join()
            assert self._process.stderr is not None
            self._process.stderr.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1


def _readable(descriptor: int, milliseconds: int) -> bool:
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def processes_of(folder: Path) -> list[int]:
    """Processes whose command line names the folder: daemons of it, and helpers left behind."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                command = (place / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if os.fsencode(folder) in command:
                found.append(int(place.name))
    return found
