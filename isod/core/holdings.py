"""Who has what: the ledger's leases, with their groups, keys and quarantines, and what is asked of
them. Changed by transitions only (``core.ledger``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from isod.model.address import Address
from isod.model.effect import Effect, Freed, Quarantine, Unquarantine
from isod.model.lease import Lease
from isod.model.quarantine import QuarantineEntry

from .operations import Operations

Effects = tuple[Effect, ...]


class Holdings:
    """All leases by id, and by what they hold."""

    def __init__(
        self, quarantined: Iterable[QuarantineEntry] = (), unknown: str | None = None
    ) -> None:
        self._leases: dict[str, Lease] = {}
        self._groups: dict[int, str] = {}
        self._keys: dict[tuple[int, str], str] = {}
        self._blocked: dict[str, bool] = {}
        self._quarantined = {entry.address: entry for entry in quarantined}
        self._unknown = unknown
        self._operations = Operations()
        self._now = 0.0

    @property
    def leases(self) -> Mapping[str, Lease]:
        return self._leases

    @property
    def quarantined(self) -> Mapping[Address, QuarantineEntry]:
        """Those on record."""
        return self._quarantined

    @property
    def unknown(self) -> str | None:
        """Why it is not known which devices are in quarantine, if it is not: then all are."""
        return self._unknown

    def distrusts(self, address: Address) -> str | None:
        """Why a device is in quarantine, if it is."""
        entry = self._quarantined.get(address)
        return self._unknown if entry is None else entry.why

    def owner_of(self, group: int) -> Lease | None:
        """The lease that has an IOMMU group, in whatever state."""
        name = self._groups.get(group)
        return None if name is None else self._leases[name]

    def find_key(self, uid: int, key: str) -> Lease | None:
        """The live lease that this uid acquired with this key; one that ends is none."""
        name = self._keys.get((uid, key))
        return None if name is None else self._leases[name]

    @property
    def blocked(self) -> tuple[str, ...]:
        """The leases whose scrub waits for a change that the host's picture will show."""
        return tuple(name for name, seen in self._blocked.items() if seen)

    def _put(self, lease: Lease) -> Lease:
        self._leases[lease.id] = lease
        for group in lease.groups:
            self._groups[group.number] = lease.id
        if lease.key is not None and lease.ending is None:
            self._keys[lease.owner.uid, lease.key] = lease.id
        return lease

    def _disown(self, before: Lease, after: Lease) -> Effects:
        """Groups that a lease has no more, though it goes on, are nobody's."""
        freed = tuple(name.number for name in before.groups if name not in after.groups)
        for number in freed:
            if self._groups.get(number) == before.id:
                del self._groups[number]
        return (Freed(freed),) if freed else ()

    def _quarantine(self, entries: Sequence[QuarantineEntry]) -> Effects:
        self._quarantined.update((entry.address, entry) for entry in entries)
        return (Quarantine(tuple(entries)),) if entries else ()

    def _clear(self, address: Address | None) -> Effects:
        if address is None:
            self._unknown = None
        else:
            self._quarantined.pop(address, None)
        return (Unquarantine(address),)
