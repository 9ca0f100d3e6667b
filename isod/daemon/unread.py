"""File descriptors that were sent and not read: the kernel charges them to isod's user.

Linux allows a user as many in flight as one process may have open (net/unix: too_many_unix_fds);
past that every further reply with fds would fail, whoever it is for. What a peer has read is seen
from what the kernel counts as unread in its socket. Packets are read in order, so with less unread
than a packet and all behind it weigh, it was read. A packet's weight, its length with the kernel's
overhead, is what was added when it was sent; if the peer read in that moment it is taken for less,
and never for more.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections import deque
from dataclasses import dataclass

_INT = struct.Struct("i")


def unread_bytes(descriptor: int) -> int:
    """What was sent on a Unix socket and not received yet, with the kernel's own overhead: SIOCOUTQ
    (unix(7)). 0 once the peer has closed it. Raises OSError."""
    (number,) = _INT.unpack(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(_INT.size)))
    return int(number)


@dataclass(frozen=True, slots=True)
class _Sent:
    weight: int
    fds: int
    at: float


class Unread:
    """Packets from the first on whose fds may be unread. ``fds`` is how many those are."""

    def __init__(self) -> None:
        self._packets: deque[_Sent] = deque()
        self._weight = 0
        self.fds = 0

    @property
    def oldest(self) -> float | None:
        """When the first of them was sent."""
        return self._packets[0].at if self._packets else None

    def sent(self, weight: int, fds: int, at: float) -> None:
        """A packet was sent. Those without fds count only behind one that has some."""
        if fds or self._packets:
            self._packets.append(_Sent(weight, fds, at))
            self._weight += weight
            self.fds += fds

    def look(self, unread: int) -> int:
        """So many bytes are unread: forget what was read. Returns how many fds that were."""
        before = self.fds
        while self._packets and (unread < self._weight or not self._packets[0].fds):
            packet = self._packets.popleft()
            self._weight -= packet.weight
            self.fds -= packet.fds
        return before - self.fds
