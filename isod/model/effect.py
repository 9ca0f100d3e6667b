"""What the ledger wants done, in the order in which it stands.

Every effect that can fail has an event for it (``model/event``).
"""

from __future__ import annotations

from dataclasses import dataclass

from .address import Address
from .ahead import AheadEffect
from .lease import Lease, LeaseDevice
from .quarantine import QuarantineEntry
from .reason import Refusal
from .step import OpenFile, Step


@dataclass(frozen=True, slots=True)
class Remember:
    """Write the lease's row, before anything else is done."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the lease's row."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Prepare:
    """Run ``steps``, in order, until one fails; answer with Prepared or PrepareFailed."""

    lease: Lease
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send reply and fds in one packet and close our copies; DeliveryFailed if that fails.
    ``again``: they are fresh fds of a lease that stands without them."""

    lease: Lease
    files: tuple[OpenFile, ...]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Discard:
    """Close fds that will not be delivered."""

    files: tuple[OpenFile, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the waiting request with a refusal."""

    lease: Lease
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Drain:
    """Take the limits in ``steps`` back at once (a later lease of the process may raise them
    again), run the other ``steps`` (rights on nodes), then probe ``devices`` until Idle. Without
    devices there is nothing to probe: the failed grant had touched none."""

    lease: Lease
    steps: tuple[Step, ...]
    devices: tuple[LeaseDevice, ...]


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Say Deadline in ``seconds``. A lease has one timer at most."""

    lease: Lease
    seconds: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    """The lease's timer is not needed any more, if it runs at all."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class EndPeer:
    """End the process, or the cgroup, that the lease is anchored in: PeerEnded or PeerNotEnded."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class RunFences:
    """Run ``steps`` in helpers until all have returned: Fenced."""

    lease: Lease
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Run ``steps`` (reset, restore), each whatever became of the others: Returned. If a reset
    would hit somebody else nothing is restored: ScrubBlocked."""

    lease: Lease
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Give the devices, and so their groups, to nobody until an admin clears it; outlives a
    reboot."""

    entries: tuple[QuarantineEntry, ...]


@dataclass(frozen=True, slots=True)
class Unquarantine:
    """Forget that a device was quarantined; ``address`` None: that it is not known which were."""

    address: Address | None


@dataclass(frozen=True, slots=True)
class Freed:
    """Groups that a lease had are nobody's, though the lease goes on: their devices are gone."""

    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell log and subscribers; ``kind`` is ``lease.granted``, ``lease.revoking``, …"""

    kind: str
    lease: Lease
    note: str | None = None


Effect = (
    AheadEffect
    | Remember
    | Forget
    | Prepare
    | Deliver
    | Discard
    | Refuse
    | Drain
    | StartTimer
    | StopTimer
    | EndPeer
    | RunFences
    | GiveBack
    | Quarantine
    | Unquarantine
    | Freed
    | Announce
)
