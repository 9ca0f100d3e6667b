"""A lease that this program holds: what both kinds of client know about it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from isod.model.reason import Reason
from isod.model.reply import LeaseInfo

from .errors import ClientError, Refused
from .exchange import Exchange, Grant, release, reopen
from .files import LeasedFiles


class HeldLease:
    """The state of a lease, and its files. It lives until the last copy of ``files.hold`` closes,
    or until it is released. A new connection to the daemon changes nothing about it.

    Leaving its ``with`` block closes the files and thereby ends it, unless the hold was passed on.
    A lease with another anchor (``info.anchor``) has no hold, and outlives its files.
    """

    def __init__(self, grant: Grant, secret: str | None = None) -> None:
        self.info: LeaseInfo = grant.lease
        self.warnings: tuple[str, ...] = grant.warnings
        self.files: LeasedFiles = grant.files
        self._secret = secret or grant.lease.secret

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def secret(self) -> str:
        """The word that acting on the lease needs. Raises ClientError when the daemon did not say
        it, as in the answer to an acquire whose key was known already."""
        if self._secret is None:
            raise ClientError(f"the secret of lease {self.id} is not known here")
        return self._secret

    def close(self) -> None:
        """Close the files. Unless somebody else has a copy of the hold, this ends the lease."""
        self.files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Lease {self.id} {self.info.state} {self.files!r}>"

    def _releasing(self) -> Exchange[LeaseInfo]:
        try:
            self.info = yield from release(self.id, self.secret)
        except Refused as refused:
            # Asked again after a lost connection: the first time it was done, and it is over.
            if not (refused.repeated and refused.reason is Reason.not_found):
                raise
            self.info = self.info.model_copy(update={"state": "draining"})
        self.files.close()
        return self.info

    def _reopening(self) -> Exchange[LeasedFiles]:
        """Close all but the hold, which keeps the lease meanwhile, and take fresh files: the hold
        among them takes the place of the former one."""
        former = self.files
        hold = former.detach_hold()
        former.close()
        self.files = hold
        grant = yield from reopen(self.id, self.secret)
        self.info, self.warnings = grant.lease, grant.warnings
        self.files = grant.files.with_hold(hold)
        return self.files
