"""A service manager under test: it keeps fds over restarts, as systemd's fd store does.

sd_notify(3), sd_listen_fds(3): FDSTORE, FDSTOREREMOVE, BARRIER, and a stored fd that hangs up is
dropped (``FDPOLL``), and so is, in silence, what there is no room for (FileDescriptorStoreMax=).
The real one runs in the lab (tests/lab, units under systemd).
"""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path

_READ = 65536
_CAUGHT_UP = "caught up"
_SECONDS = 60.0
_ROOM = 4096  # FileDescriptorStoreMax= of the unit


class Manager:
    """Listens for one daemon's notifications, run after run. Owns all fds that it keeps."""

    def __init__(self, folder: Path, *, watchdog_seconds: float | None = None) -> None:
        self._path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(self._path))
        self._watchdog = watchdog_seconds
        self._listeners: dict[str, socket.socket] = {}
        self._news = threading.Condition()
        self.kept: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.room = _ROOM
        self.dropped = 0
        self._end_read, self._end_write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def listen(self, unit: str, path: Path, mode: int) -> None:
        """Listen for packets at ``path`` on the daemon's behalf, from now on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(16)
        self._listeners[unit] = listener

    def start_with(self) -> tuple[dict[str, str], list[int]]:
        """The environment and the fds, in order from 3 on, for the daemon's next start."""
        self._catch_up()
        self.drop_what_hung_up()
        with self._news:
            named = [(name, one.fileno()) for name, one in self._listeners.items()] + self.kept
        environment = {
            "NOTIFY_SOCKET": str(self._path),
            "LISTEN_FDS": str(len(named)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in named),
        }
        if self._watchdog is not None:
            environment["WATCHDOG_USEC"] = str(int(self._watchdog * 1e6))
        return environment, [descriptor for _, descriptor in named]

    def _catch_up(self) -> None:
        """Deal with all that a former run has said: a message of our own comes after it."""
        with self._news:
            told = self.told.count(_CAUGHT_UP)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(_CAUGHT_UP.encode(), str(self._path))
        self.wait_for(_CAUGHT_UP, _SECONDS, times=told + 1)

    def keep(self, name: str, descriptor: int) -> None:
        """Keep an fd that the daemon did not ask for; a copy is taken."""
        with self._news:
            self.kept.append((name, os.dup(descriptor)))

    def wait_for(self, message: str, seconds: float, *, times: int = 1) -> None:
        """Wait until the daemon has said something so many times."""

        def said() -> bool:
            return self.told.count(message) >= times

        with self._news:
            assert self._news.wait_for(said, seconds), f"never said {message}: {self.told}"

    def drop_what_hung_up(self) -> None:
        """Close stored pipes whose other end is gone."""
        with self._news:
            staying: list[tuple[str, int]] = []
            for name, descriptor in self.kept:
                poll = select.poll()
                poll.register(descriptor, 0)
                if any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0)):
                    os.close(descriptor)
                else:
                    staying.append((name, descriptor))
            self.kept[:] = staying

    def close(self) -> None:
        os.close(self._end_write)
        self._thread.join()
        os.close(self._end_read)
        self._socket.close()
        for listener in self._listeners.values():
            listener.close()
        for _, descriptor in self.kept:
            os.close(descriptor)
        self.kept.clear()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._end_read, 0)
        while True:
            if any(descriptor == self._end_read for descriptor, _ in poll.poll()):
                return
            data, fds, _, _ = socket.recv_fds(self._socket, _READ, 16)
            with self._news:
                self._heed(data.decode(), fds)
                self._news.notify_all()

    def _heed(self, text: str, fds: list[int]) -> None:
        fields = dict(line.partition("=")[::2] for line in text.splitlines() if line)
        name = fields.get("FDNAME", "stored")
        if fields.get("FDSTORE") == "1":
            for descriptor in fds:
                self._store(name, descriptor)
            return
        if fields.get("FDSTOREREMOVE") == "1":
            for kept in [kept for kept in self.kept if kept[0] == name]:
                self.kept.remove(kept)
                os.close(kept[1])
        for descriptor in fds:  # of a barrier
            os.close(descriptor)
        self.told.append(text)

    def _store(self, name: str, descriptor: int) -> None:
        self.drop_what_hung_up()
        if len(self.kept) < self.room:
            self.kept.append((name, descriptor))
        else:
            self.dropped += 1
            os.close(descriptor)
