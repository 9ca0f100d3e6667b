"""The one place that tells what has happened: to the log."""

from __future__ import annotations

from isod.model.lease import Lease
from isod.model.notice import KINDS

from .journal import Journal


class Publisher:
    """Everything that is told of leases goes through here."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def lease(self, kind: str, lease: Lease, note: str | None = None) -> None:
        """Tell what happened to a lease; ``kind`` is one of KINDS."""
        sentence = KINDS[kind].sentence.format(lease=lease.id)
        owner = lease.owner
        fields: dict[str, str | int] = {
            "lease": lease.id,
            "uid": owner.uid,
            "pid": owner.pid,
            "unit": owner.unit or "",
            "cgroup": owner.cgroup or "",
            "rule": lease.rule,
            "hand_over": lease.hand_over,
            "devices": " ".join(str(device.address) for device in lease.devices),
        }
        self._journal.record(
            kind,
            f"{sentence}: {note}" if note else sentence,
            **{name: value for name, value in fields.items() if value != ""},
        )
