"""Who is at the other end of a connection: everything the kernel says about it, once, at accept.

A peer whose credentials cannot be had is not served. Where it runs may be unknown: then that is
None, which no rule that allows matches, and every rule that denies.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from isod.core.accounts import Account, unlimited
from isod.kernel.process import is_alive, start_time
from isod.model.lease import Owner
from isod.model.peer import Peer

from .socket_option import socket_option

# include/uapi/asm-generic/socket.h; Python 3.11 has no names for these.
SO_PEERSEC = 31
SO_PEERGROUPS = 59
SO_PEERPIDFD = 77  # Linux 6.5

_UCRED = struct.Struct("iII")
_GROUPS_MAX = 65536
_PROC = Path("/proc")


@dataclass(slots=True)
class Identity:
    """The peer with its pidfd, which pins the process for as long as the connection lasts.

    ``started`` is the process's start time in clock ticks (0: unknown). ``pidfd`` is owned here,
    -1 when closed or never had. What its connection costs is charged to ``account``.
    """

    peer: Peer
    started: int = 0
    pidfd: int = -1
    account: Account = field(default_factory=unlimited)

    @property
    def owner(self) -> Owner:
        """Whose a lease is that this peer gets."""
        peer = self.peer
        return Owner(
            peer.uid,
            peer.pid,
            self.started,
            peer.unit,
            cgroup=peer.cgroup,
            gid=peer.gid,
            groups=tuple(sorted(peer.groups)),
            label=peer.label,
            user_unit=peer.user_unit,
        )

    def memlock(self) -> tuple[int, int] | None:
        """The process's RLIMIT_MEMLOCK now, soft and hard in bytes (-1: unlimited).

        None when it cannot be read, or the process cannot be named safely. Read from
        /proc/PID/limits, which needs no capability (prlimit(2) on another uid's process does).
        """
        if not self.peer.verified:
            return None
        with suppress(OSError, ValueError, IndexError):
            for line in (_PROC / str(self.peer.pid) / "limits").read_text().splitlines():
                if line.startswith("Max locked memory"):
                    soft, hard = (
                        -1 if word == "unlimited" else int(word) for word in line.split()[3:5]
                    )
                    return (soft, hard) if is_alive(self.pidfd) else None
        return None

    def close(self) -> None:
        """Close the pidfd; the account is not its own."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def uid_of(connection: socket.socket) -> int:
    """Who connected, and nothing else: cheaper than all the rest. Raises OSError."""
    return _credentials(connection)[1]


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Pid, uid and gid as they were at connect."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return pid, uid, gid


def identify(
    connection: socket.socket, account: Account | None = None, *, admin: bool = False
) -> Identity:
    """Look up a connection's peer. Raises OSError when its credentials are not to be had: ids,
    groups, security label."""
    pid, uid, gid = _credentials(connection)
    pidfd = _pidfd(connection)
    try:
        cgroup, started, verified = None, 0, False
        if pidfd >= 0 and pid > 0:
            cgroup = _cgroup(pid)
            started = _start_time(pid)
            # Read first, then look whether the process still is: so what was read is its own.
            verified = started > 0 and is_alive(pidfd)
        system_unit, user_unit = _units(cgroup) if verified else (None, None)
        return Identity(
            Peer(
                uid=uid,
                gid=gid,
                groups=_groups(connection),
                pid=pid,
                verified=verified,
                label=_label(connection),
                cgroup=cgroup if verified else None,
                unit=system_unit,
                user_unit=user_unit,
                admin=admin,
            ),
            started if verified else 0,
            pidfd,
            account or unlimited(),
        )
    except BaseException:
        if pidfd >= 0:
            os.close(pidfd)
        raise


def _pidfd(connection: socket.socket) -> int:
    """The pidfd of the process that connected, -1 where the kernel has none to give.

    ESRCH or EINVAL: the process is gone already, or too old a kernel (before 6.5).
    """
    with suppress(OSError):
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4)
        descriptor: int = struct.unpack("i", raw)[0]
        os.set_inheritable(descriptor, False)
        return descriptor
    return -1


def _groups(connection: socket.socket) -> frozenset[int]:
    """Supplementary groups as they were at connect (SO_PEERGROUPS, 4.13). Raises OSError: without
    them a rule that denies a group would let its members pass."""
    raw = socket_option(connection.fileno(), SO_PEERGROUPS, 4 * _GROUPS_MAX)
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def _label(connection: socket.socket) -> str | None:
    """The security label as it was at connect; None where no security module gives any. Raises
    OSError when there is one that cannot be had."""
    try:
        raw = socket_option(connection.fileno(), SO_PEERSEC, 4096)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:  # net/core/sock.c: no module has an answer
            return None
        raise
    return raw.rstrip(b"\0").decode(errors="backslashreplace") or None


def _cgroup(pid: int) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        # Not splitlines(): a name may hold what that takes for the end of a line, and whoever may
        # make cgroups would come to be in another one.
        for line in (_PROC / str(pid) / "cgroup").read_bytes().split(b"\n"):
            if line.startswith(b"0::/"):
                return line[3:].decode()
    return None


def _start_time(pid: int) -> int:
    """0 for whatever cannot be read."""
    with suppress(OSError, ValueError, IndexError):
        return start_time(pid) or 0
    return 0


def _units(cgroup: str | None) -> tuple[str | None, str | None]:
    """The first system unit on the path, and the unit below ``user@N.service`` if there is one.

    Names below a user's manager are chosen by that user, so they are a word of their own. Slices
    are no units that a peer runs in.
    """
    if cgroup is None:
        return None, None
    parts = cgroup.strip("/").split("/")
    units = [part for part in parts if part.endswith((".service", ".scope"))]
    if not units:
        return None, None
    below_user_manager = units[0].startswith("user@") and len(units) > 1
    return units[0], units[-1] if below_user_manager else None
