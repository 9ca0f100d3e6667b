"""A lease: a hold on isolation groups, from the grant until the kernel has proven them closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from .address import Address
from .peer import Cgroup
from .step import GroupName, HandOver, Step
from .terms import Anchor, Terms

Why = Literal["requested", "sibling", "reset_set"]


# What HeldOutside and LeaseDevice say of a device that an unbind or a removal has taken.
NO_DRIVER = "no driver"

PublicState = Literal["preparing", "leased", "draining", "scrubbing"]


class State(StrEnum):
    """Where a lease stands. Its groups are free only when the lease is no more."""

    preparing = "preparing"
    leased = "leased"
    reopening = "reopening"
    joining = "joining"
    proving = "proving"
    draining = "draining"
    fencing = "fencing"
    scrubbing = "scrubbing"

    @property
    def public(self) -> PublicState:
        """The word that clients see: reopening, joining and proving are part of leased, fencing
        of draining."""
        return _PUBLIC[self]


_PUBLIC: Mapping[State, PublicState] = MappingProxyType(
    {
        State.preparing: "preparing",
        State.leased: "leased",
        State.reopening: "leased",
        State.joining: "leased",
        State.proving: "leased",
        State.draining: "draining",
        State.fencing: "draining",
        State.scrubbing: "scrubbing",
    }
)


@dataclass(frozen=True, slots=True)
class LeaseDevice:
    """A device of a lease, with the state that it is put back into.

    ``touched``: the plan binds or unbinds it, so a roll-back has to put it back; what sat on a vfio
    driver already is left alone until the client may have had it. ``resets_alone``: a scrub can
    reset it; where it cannot, ``hot_reset`` is the reset set that is reset in its stead, if all of
    that is the lease's. ``bridge``: taken from a driver, never bound to vfio. ``rule``: what
    allowed a device that was handed out, whose quota it counts against; None: parked, or taken
    along by ``may_take``. ``pool``: out of which it was chosen.
    ``held_outside``: what somebody else has made of it, a driver's name or "no driver".
    ``fenced``: isod itself has begun to unbind it, for fresh fds that could not be opened.
    ``added``: it came when the lease had its group already.
    """

    address: Address
    generation: int
    group: int
    why: Why
    former_driver: str | None = None
    former_override: str | None = None
    parked: bool = False
    touched: bool = False
    resets_alone: bool = False
    bridge: bool = False
    cdev: str | None = None
    rule: str | None = None
    hot_reset: tuple[Address, ...] = ()
    held_outside: str | None = None
    fenced: bool = False
    added: bool = False
    vendor: str = ""
    product: str = ""
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose lease it is. ``started`` is the process's start time in clock ticks since boot.

    It holds all that rules ask of a peer: a device that joins the lease is judged by it.
    """

    uid: int
    pid: int
    started: int
    unit: str | None = None
    name: str | None = None
    cgroup: str | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    label: str | None = None
    user_unit: str | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """How far taking a lease back has come.

    ``deadline``, in seconds since the epoch, is when the time to let go is over; ``overdue``: it
    is. ``why`` says why it was revoked; None: its owner ended it, and the rule sets a time to
    close everything. ``peer`` is what became of ending the peer; None: not tried.
    """

    deadline: float
    why: str | None = None
    overdue: bool = False
    peer: Literal["ending", "ended", "failed"] | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease. ``secret`` is the word that its owner got; acting on the lease needs it.

    ``granted_at`` is in seconds since the epoch.
    ``domain`` is the reset domain of its devices, as it was at the grant: all that shares a fate.
    ``anchor`` is what the lease lives as long as; ``cgroup`` is the one that it is anchored in.
    ``conflict``: why it shares its isolation group with another lease. ``strangers`` are devices,
    by address and generation, that came into its isolation group and must not be parked.
    ``former_limit`` is the RLIMIT_MEMLOCK (soft, hard) to go back to; None: none was raised.
    ``waiting`` says what its scrub waits for, or waited for last. ``leaving``: the owner has until
    then, in seconds since the epoch, to close devices that are being taken away.
    """

    id: str
    secret: str
    owner: Owner
    rule: str
    hand_over: HandOver
    terms: Terms
    devices: tuple[LeaseDevice, ...]
    groups: tuple[GroupName, ...]
    plan: tuple[Step, ...]
    state: State = State.preparing
    granted_at: float = 0.0
    key: str | None = None
    former_limit: tuple[int, int] | None = None
    domain: tuple[Address, ...] = ()
    ever_leased: bool = False
    open: tuple[Address, ...] = ()
    ending: str | None = None
    waiting: str | None = None
    revocation: Revocation | None = None
    anchor: Anchor = "hold"
    cgroup: Cgroup | None = None
    conflict: str | None = None
    leaving: float | None = None
    strangers: tuple[tuple[Address, int], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def requested(self) -> tuple[Address, ...]:
        return tuple(device.address for device in self.devices if device.why == "requested")
