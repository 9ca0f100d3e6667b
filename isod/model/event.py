"""What happens to leases and to the host: events go into the ledger, and effects come out
(``model/effect``)."""

from __future__ import annotations

from dataclasses import dataclass

from .address import Address
from .lease import Lease, LeaseDevice
from .quarantine import QuarantineEntry
from .reason import Refusal
from .step import GroupName, OpenFile, Step


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
    """An administrator trusts a device again. ``address`` None: those that are not on record, after
    the record of quarantine was lost."""

    address: Address | None


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
    """A device came into the isolation group of a lease and may be parked there, by ``steps``.
    ``group`` is its group, if the lease has that only from now on; ``domain`` is all that shares
    its fate."""

    lease: str
    device: LeaseDevice
    steps: tuple[Step, ...]
    group: GroupName | None = None
    domain: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Stranger:
    """A device came into the isolation group of a lease and must not be parked: ``why``."""

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
