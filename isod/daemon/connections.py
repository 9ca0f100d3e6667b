"""Who is connected to a socket: charged to the book, and told why there is no room."""

from __future__ import annotations

import trio

from isod.core.accounts import Account, Accounts, Resource
from isod.core.pace import Pace
from isod.model.reason import RefusedError

from .journal import Journal


class Connections:
    """The connections of one socket. Those to the admin socket are counted apart: whoever fills
    one socket keeps nobody from the other."""

    def __init__(self, accounts: Accounts, journal: Journal, *, admin: bool = False) -> None:
        self._accounts = accounts
        self._journal = journal
        self._admin = admin
        self._resource = Resource.admin_connections if admin else Resource.connections
        self._turns: dict[int, trio.Lock] = {}
        self._told: set[int] = set()
        self._pace = Pace()

    def admit(self, uid: int) -> Account:
        """The account of one more connection of this uid, which whoever serves it closes. Raises
        RefusedError if it is one too many. The log is told once for each uid and time of scarcity,
        so that nobody can fill it by knocking."""
        try:
            account = self._accounts.open(uid, admin=self._admin)
        except RefusedError as error:
            if uid not in self._told:
                self._told.add(uid)
                text = f"uid {uid} is turned away: {error.refusal.message}"
                self._journal.record("connection.refused", text, uid=uid)
            raise
        self._told.discard(uid)
        return account

    async def wait(self, uid: int) -> None:
        """Wait until one that was admitted is to be served."""
        limits = self._accounts.limits()
        seconds = self._pace.wait(
            uid,
            trio.current_time(),
            at_once=limits.connections_per_uid,
            per_second=limits.connects_per_second,
        )
        if seconds > 0:
            await trio.sleep(seconds)

    async def turn(self, uid: int) -> None:
        """Wait until a connection of this user may do one thing more: they have their turns one
        after the other, each in a round of the loop of its own. So others, who are served in
        every round, have to wait for one of them, and not for as many as a user may have."""
        if self._accounts.of_uid(uid, self._resource) > 1:
            async with self._turns.setdefault(uid, trio.Lock()):
                pass  # the next one is woken now, and runs in the next round

    def left(self, uid: int) -> None:
        """The account of one that was admitted is closed."""
        if not self._accounts.of_uid(uid, self._resource):
            self._told.discard(uid)
            self._turns.pop(uid, None)
