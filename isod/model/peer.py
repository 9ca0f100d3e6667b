"""Who asks, as the kernel states it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A control group (v2): its path without the mount point, and its id, the inode of its
    directory. The path may be given again to another one, the id is not."""

    path: str
    identity: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A connection's other end, at the time it connected.

    ``pid`` alone names nobody: it may be reused as soon as the process is gone. Whoever acts on it
    holds the pidfd of the connection and finds it alive after reading. ``verified`` says that a
    pidfd of this very peer exists; without it units and cgroup are unknown, and it is neither
    ended nor are its limits raised (``SO_PEERPIDFD``, Linux 6.5). ``cgroup`` is the v2 path without
    the mount point; None: it is not known where the peer runs, so neither in which units.
    """

    uid: int
    gid: int
    groups: frozenset[int]
    pid: int
    verified: bool = False
    label: str | None = None
    cgroup: str | None = None
    unit: str | None = None
    user_unit: str | None = None
    admin: bool = False
