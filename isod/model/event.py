"""What happens to leases, and what the ledger wants done about it.

Events go into the ledger; effects come out, to be carried out in the order in which they stand.
Every effect that can fail has an event for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .address import Address
from .ahead import AheadEffect
from .lease import Lease, LeaseDevice
from .quarantine import QuarantineEntry
from .reason import Refusal
from .step import OpenFile, Step

# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granted:
    """The policy allows it and the plan stands: a lease begins, in *preparing*."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Recovered:
    """A row of the store, read at start. ``held``: what it is anchored in still stands."""

    lease: Lease
    held: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """Every step of the plan has been run. ``files`` are now the executor's to deliver."""

    lease: str
    files: tuple[OpenFile, ...]
    devices: tuple[LeaseDevice, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """A step failed; ``begun`` steps of the plan were begun, that one included."""

    lease: str
    begun: int
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class DeliveryFailed:
    """The packet with the fds did not go out; the fds are closed."""

    lease: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The owner is gone (its hold is closed, its cgroup is empty), or released it: ``why``."""

    lease: str
    why: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """The lease is to be taken back, by its terms: its owner is asked first, unless ``at_once``.
    ``why`` is for the owner to read."""

    lease: str
    why: str
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Deadline:
    """The lease's timer has run out."""

    lease: str


@dataclass(frozen=True, slots=True)
class PeerEnded:
    """The peer was ended: ``how``, in words. What it had open closes as it goes."""

    lease: str
    how: str


@dataclass(frozen=True, slots=True)
class PeerNotEnded:
    """The peer could not be ended; what it has open stays open."""

    lease: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Reopen:
    """The owner asks for fresh fds; ``plan`` proves the former closed and opens anew."""

    lease: str
    plan: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class InUse:
    """A probe saw that a draining lease's devices are open still."""

    lease: str
    open: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Idle:
    """The probes agree that nothing is open. They are blind to an unbound cdev: fence next."""

    lease: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """Every fence has returned."""

    lease: str


@dataclass(frozen=True, slots=True)
class Returned:
    """The way back is done. ``problems`` are what it could not put back, by device."""

    lease: str
    problems: tuple[tuple[Address, Refusal], ...] = ()


@dataclass(frozen=True, slots=True)
class ScrubBlocked:
    """Nothing was reset: the reset would hit somebody else, ``why``. All of the lease is fenced.
    ``seen``: the host's picture shows it, so that a change of it may end the wait."""

    lease: str
    why: str
    seen: bool = True


@dataclass(frozen=True, slots=True)
class ScrubAgain:
    """What a lease's scrub waits for may have changed."""

    lease: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An administrator does not trust a device."""

    entry: QuarantineEntry


@dataclass(frozen=True, slots=True)
class Cleared:
    """An administrator trusts a device again."""

    address: Address


@dataclass(frozen=True, slots=True)
class DeviceGone:
    """A device of a lease is not there any more, whatever is at its address now. ``group_gone``:
    nor is its group, whatever has the number now."""

    lease: str
    address: Address
    generation: int
    group_gone: bool = False


@dataclass(frozen=True, slots=True)
class HeldOutside:
    """Somebody else has taken a leased device from vfio: ``by`` names the driver that has it now,
    or says "no driver" (an unbind or a removal that waits for the client); None: it is back."""

    lease: str
    address: Address
    by: str | None


@dataclass(frozen=True, slots=True)
class DeviceJoined:
    """A device was added to a group of a lease and may be parked there, by ``steps``."""

    lease: str
    device: LeaseDevice
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Stranger:
    """A device was added to a group of a lease and must not be parked: ``why``."""

    lease: str
    address: Address
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """These leases have groups that, as the policy says now, are not isolated from each other."""

    leases: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The lease shares its isolation group with no other lease any more."""

    lease: str


Event = (
    Granted
    | Recovered
    | Prepared
    | PrepareFailed
    | DeliveryFailed
    | Ending
    | Revoke
    | Deadline
    | PeerEnded
    | PeerNotEnded
    | Reopen
    | InUse
    | Idle
    | Fenced
    | Returned
    | ScrubBlocked
    | ScrubAgain
    | DeviceGone
    | HeldOutside
    | DeviceJoined
    | Stranger
    | Conflict
    | Settled
    | Quarantined
    | Cleared
)

# --- effects ------------------------------------------------------------------------------------


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
    """Forget that a device was quarantined."""

    address: Address


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
