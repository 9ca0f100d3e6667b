"""Who may reach the admin socket: root, and by ACL exactly those whom ``[admin]`` names.

The socket is 0600 in a folder of 0700. Rights on files go by user or group alone, so they admit no
more than that; whether a peer is one that ``[admin]`` means (its unit, its label), each of its
requests is asked by the gate.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isod.kernel.linux.acl import EXECUTE, WRITE, for_others, read_acl, with_exactly, write_acl
from isod.model.policy import Ranges, Who


@dataclass(frozen=True, slots=True)
class AdminRights:
    """The rights on one socket and on the folder that it lies in."""

    socket: Path

    def give(self, admins: Sequence[Who]) -> tuple[str, ...]:
        """Let exactly these in (blocking). Returns what went wrong, for the log; those whom it
        concerns stay outside then."""
        users, groups = _named(admins)
        try:
            self._set(users, groups)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP and not (users or groups):
                return ()
            text = f"admin: only root can use {self.socket}: {error.strerror}"
            return (text,)
        return ()

    def _set(self, users: frozenset[int], groups: frozenset[int]) -> None:
        """The socket first when somebody loses rights, and also when somebody gets them: nobody is
        there yet who could come through the folder."""
        for path, needed in ((self.socket, WRITE), (self.socket.parent, EXECUTE)):
            former = read_acl(str(path))
            if for_others(former) & needed == needed:
                continue  # a folder that is not ours alone: an entry would take rights away
            wanted = with_exactly(former, users, groups, needed)
            if sorted(wanted) != sorted(former):
                write_acl(str(path), wanted)


def _named(admins: Iterable[Who]) -> tuple[frozenset[int], frozenset[int]]:
    """The users and groups that have to get through. Where a table has both, the users: it wants
    them to be in the group as well, which the gate asks. So it is where a table has group and gid:
    who is in both is in the former."""
    users: set[int] = set()
    groups: set[int] = set()
    for who in admins:
        if who.uids is not None:
            users.update(_each(who.uids))
        elif who.groups is not None:
            groups.update(_each(who.groups))
        elif who.gids is not None:
            groups.update(_each(who.gids))
    return frozenset(users), frozenset(groups)


def _each(ranges: Ranges) -> Iterable[int]:
    for low, high in ranges:
        yield from range(low, high + 1)
