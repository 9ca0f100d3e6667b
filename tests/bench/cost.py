"""What a daemon costs while others flood it, and what it may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from isod.model.policy import Limits
from isod.model.request import LEASE_FDS

if TYPE_CHECKING:
    from tests.walk.daemon import Daemon

GROWTH = 16_000_000
# Of a connection: its socket, and its process.
_FDS_EACH = 2
# A connection that is turned away is told so, and closed at once; a look at a device or a folder.
_PASSING = 8


def fds_allowed(own: int, users: int, limits: Limits) -> int:
    """As many fds as the daemon may have: its own when nobody is there, those of the connections
    that so many users may have, and one grant that is being handed over."""
    connections = min(limits.connections, users * limits.connections_per_uid)
    return own + _FDS_EACH * connections + LEASE_FDS + _PASSING


class Cost:
    """The greatest that was seen of a daemon: of memory since this was made, by the kernel's own
    count; of fds whenever it was told to look, since the last ``begin``."""

    def __init__(self, daemon: Daemon) -> None:
        self._place = Path(f"/proc/{daemon.pid}")
        (self._place / "clear_refs").write_text("5")  # forget the peak so far (proc(5))
        self._before = self._status("VmRSS")
        self.own_fds = self.fds = self._open()

    def begin(self) -> None:
        """Fds are counted anew; what memory came is no daemon's to give back, and stays counted."""
        self.fds = 0

    def look(self) -> None:
        self.fds = max(self.fds, self._open())

    @property
    def grown(self) -> int:
        """Bytes that were resident at the peak, and not before."""
        return self._status("VmHWM") - self._before

    def _open(self) -> int:
        return sum(1 for _ in (self._place / "fd").iterdir())

    def _status(self, name: str) -> int:
        for line in (self._place / "status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) << 10
        raise KeyError(name)
