"""Who is connected to a socket: charged to the book, and told why there is no room."""

from __future__ import annotations

from isod.core.accounts import Account, Accounts, Resource
from isod.model.reason import RefusedError

from .journal import Journal


class Connections:
    """The connections of one socket. Those to the admin socket are counted apart: whoever fills
    one socket keeps nobody from the other."""

    def __init__(self, accounts: Accounts, journal: Journal, *, admin: bool = False) -> None:
        self._accounts = accounts
        self._journal = journal
        self._admin = admin
        self._told: set[int] = set()

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

    def left(self, uid: int) -> None:
        """The account of one that was admitted is closed."""
        resource = Resource.admin_connections if self._admin else Resource.connections
        if not self._accounts.of_uid(uid, resource):
            self._told.discard(uid)
