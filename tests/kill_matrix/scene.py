"""Who takes part in a walk, and what each was told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from isod.client.errors import Refused
from tests.walk.administrator import admins
from tests.walk.borrowers import UID, Borrower, Borrowers, where
from tests.walk.machine import Binding, Shape
from tests.walk.stage import Stage


@dataclass
class Party:
    """A client. ``told`` is its lease, as it knows it; ``limit`` its memlock limit before that."""

    borrower: Borrower
    device: str
    limit: str
    told: dict[str, Any] | None = None

    @property
    def lease(self) -> str:
        assert self.told is not None, "it has no lease"
        identity: str = self.told["id"]
        return identity

    @property
    def holds(self) -> bool:
        """Whether it has anything of a lease open, a hold with its rights on nodes included."""
        return self.borrower.alive and bool(self.files())

    def files(self) -> list[str]:
        """Asked while nobody is about to end it."""
        found: list[str] = self.borrower.do("files")
        return [name for name in found if not name.startswith(("/dev/null", "anon_inode:[pidfd"))]


class Scene:
    """A stage with its clients. ``thief`` is somebody of another uid who wants what others have."""

    def __init__(self, stage: Stage, borrowers: Borrowers) -> None:
        self.stage = stage
        self._borrowers = borrowers
        self.parties: list[Party] = []

    def enter(self, shape: Shape) -> Party:
        """A client comes that wants a device."""
        borrower = self._borrowers.start(uid=UID)
        party = Party(borrower, self.stage.machine.device(shape), borrower.do("memlock"))
        self.parties.append(party)
        borrower.connect(self.stage)
        return party

    def acquire(self, party: Party, **wishes: object) -> None:
        """Ask for its device. Raises ClientError."""
        party.told = party.borrower.do("acquire", devices=[party.device], **wishes)

    def reconnect(self, party: Party) -> None:
        party.borrower.do("connect", **where(self.stage))

    def until_said(self, kind: str, lease: str) -> None:
        """Wait for a record of a lease: unlike a question that costs the daemon no system call."""
        self.stage.daemon.wait_for(f" {kind}: ", f" {lease} ")

    def is_refused(self, party: Party) -> str | None:
        """What a thief gets who asks for a party's device: the reason, or None if it gets it."""
        with self._borrowers.start() as thief:
            thief.connect(self.stage)
            try:
                thief.do("acquire", devices=[party.device])
            except Refused as error:
                return str(error.data["reason"])
        return None

    def leases(self) -> dict[str, dict[str, Any]]:
        """Everybody's leases by id, as the daemon lists them."""
        with admins(self.stage) as admin:
            answer: Any = admin.call("admin.leases", {})
        return {one["id"]: one for one in answer["leases"]}

    def waits(self, device: str) -> bool:
        """Whether a device waits on vfio-pci. It may be about to be bound."""
        with suppress(FileNotFoundError):
            return self.stage.picture()[device] == Binding("vfio-pci", "vfio-pci")
        return False

    def let_go(self) -> None:
        """Everybody who lives closes what they have."""
        for party in self.parties:
            if party.holds:
                party.borrower.do("close_taken")
                party.borrower.do("close")

    def leave(self) -> None:
        """Every client ends, as killed programs do."""
        for party in self.parties:
            party.borrower.kill()
            party.borrower.close()
        self.parties.clear()
