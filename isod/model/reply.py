"""What isod answers: one model per result. Clients ignore members that they do not know."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .critical import Kind
from .lease import Why
from .quarantine import There
from .request import AddressText
from .reset import LeaseReset
from .step import HandOver, Scrub
from .terms import Anchor

LeaseState = Literal["preparing", "leased", "draining", "scrubbing"]


class Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class You(Result):
    """Who the daemon takes the caller for."""

    uid: int
    unit: str | None = None


class PacketLimits(Result):
    """``packet`` in bytes; ``fds`` is how many a lease hands over at most."""

    packet: int
    fds: int


class HelloResult(Result):
    protocol: int
    server: str
    features: tuple[HandOver, ...]
    you: You
    limits: PacketLimits


class KernelFeatures(Result):
    iommufd: bool
    cdev: bool
    container: bool
    noiommu: bool


class NeedsRead(Result):
    """When it was read what the host needs of its devices, ``age`` seconds ago. ``unread`` says why
    it could not be, if so: then lists show none of it, and nothing is granted."""

    age: float
    unread: str | None = None


class HostInfo(Result):
    """``snapshot`` and ``policy`` are numbers that grow with every change. ``needs`` is what
    ``needed`` in the lists of devices and groups was made from. ``quarantine`` says why every
    device is in quarantine, if it is not known which are."""

    kernel: str
    simulated: bool
    features: KernelFeatures
    hand_overs: tuple[HandOver, ...]
    devices: int
    groups: int
    leases: int
    snapshot: int
    policy: int
    needs: NeedsRead | None = None
    quarantine: str | None = None


class Holder(Result):
    """Whose lease it is, as far as the asker may know: the lease and its owner only of one's own,
    and to administrators. ``user``: a name, where isod knows one besides the ``uid``."""

    yours: bool
    lease: str | None = None
    user: str | None = None
    uid: int | None = None
    since: float | None = None


class DeviceInfo(Result):
    """A device. ``reset`` is "function", "hot only" or "none".

    ``state`` is "free", "parked", a lease state, "quarantined" (it, or a member of its group),
    "host" (bound to a kernel driver) or "no IOMMU". ``quarantine`` says why it is in quarantine
    itself, ``waiting`` what the scrub of its lease waits for, ``needed`` what the host needs it
    for (for a list, that may be some seconds old). ``ahead``: isod keeps it on a vfio driver for
    who will ask for one of its pool; ``ahead_problem``: why it could not, or could not put it back.
    ``held_outside``: who has it besides isod: the driver that it was given under its lease, "no
    driver" (an unbind or a removal), or "another program" that has a free one open.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    address: AddressText
    generation: int
    vendor: str
    product: str
    device_class: str = Field(serialization_alias="class", validation_alias="class")
    driver: str | None
    driver_override: str | None
    group: int | None
    numa_node: int | None
    reset: Literal["function", "hot only", "none"]
    reset_methods: tuple[str, ...]
    bridges: tuple[AddressText, ...]
    bridge: bool
    slot: str | None
    physical_function: AddressText | None
    virtual_functions: tuple[AddressText, ...]
    cdev: str | None
    state: str
    holder: Holder | None = None
    quarantine: str | None = None
    waiting: str | None = None
    needed: tuple[Kind, ...] = ()
    ahead: bool = False
    ahead_problem: str | None = None
    held_outside: str | None = None


class JoinedGroups(Result):
    """IOMMU groups that are not isolated from each other, and the quirks that say so."""

    groups: tuple[int, ...]
    quirks: tuple[str, ...]


class GroupInfo(Result):
    """An IOMMU group. ``blocked_by`` lists members on drivers that keep it from being owned,
    ``quarantined`` those in quarantine: with one of them nobody gets the group. ``needed`` lists
    those that the host needs. ``isolation`` is there where the policy's quirks join it with
    others: they go together."""

    number: int
    generation: int
    kind: str
    devices: tuple[AddressText, ...]
    state: str
    holder: Holder | None = None
    blocked_by: tuple[AddressText, ...] = ()
    quarantined: tuple[AddressText, ...] = ()
    needed: tuple[AddressText, ...] = ()
    firmware_mapping: bool = False
    isolation: JoinedGroups | None = None


class DevicePage(Result):
    devices: tuple[DeviceInfo, ...]
    next: str | None
    snapshot: int


class GroupPage(Result):
    groups: tuple[GroupInfo, ...]
    next: str | None
    snapshot: int


class LeasedDevice(Result):
    """A device of a lease. ``pool`` is the one that it was chosen out of; None: it was asked for by
    its address, or came along. ``held_outside``: somebody else took it from vfio; the driver that
    has it now, or "no driver" while an unbind or a removal waits for the client."""

    address: AddressText
    generation: int
    group: int
    why: Why
    parked: bool = False
    cdev: str | None = None
    pool: str | None = None
    held_outside: str | None = None


class LeaseOwner(Result):
    uid: int
    pid: int
    user: str | None = None
    unit: str | None = None


class RevocationInfo(Result):
    """A lease is taken back, or ends and is to be closed: until ``deadline`` (seconds since the
    epoch), then the rule says ``wait`` or ``kill``. ``why`` is null where its owner ended it.
    ``overdue``: the deadline has passed; ``peer``: what became of ending the peer."""

    deadline: float
    then: Literal["wait", "kill"]
    why: str | None = None
    overdue: bool = False
    peer: Literal["ending", "ended", "failed"] | None = None


class LeaseInfo(Result):
    """A lease. ``secret`` is there in the answer to acquire alone. ``open`` lists the devices
    that a draining lease still waits for; ``ending`` says why it ends, ``waiting`` what a scrubbing
    one waits for: something that is not of the lease and that its reset would hit. ``anchor`` is
    what it lives as long as. ``conflict`` says why it shares its isolation group with another
    lease, since the policy's quirks have changed. ``leaving``: devices that are held outside by "no
    driver" are to be closed until then, in seconds since the epoch."""

    id: str
    state: LeaseState
    rule: str
    hand_over: HandOver
    devices: tuple[LeasedDevice, ...]
    owner: LeaseOwner
    granted_at: float
    key: str | None = None
    secret: str | None = None
    open: tuple[AddressText, ...] = ()
    ending: str | None = None
    waiting: str | None = None
    anchor: Anchor = "hold"
    revocation: RevocationInfo | None = None
    conflict: str | None = None
    leaving: float | None = None


class FileRole(Result):
    """What one of the fds of the packet is, in the packet's order."""

    role: Literal["hold", "iommufd", "container", "group", "device"]
    address: AddressText | None = None
    group: int | None = None
    state: str | None = None


class AcquireResult(Result):
    """``fds`` describes the packet's fds in order; empty when an idempotent acquire found the
    lease already granted (``lease.open`` gives fds then). ``reset`` says whether and when the
    devices may be hot-reset; None where it would have made the reply too long."""

    lease: LeaseInfo
    reset: LeaseReset | None = None
    warnings: tuple[str, ...] = ()
    fds: tuple[FileRole, ...] = ()


class PlannedStep(Result):
    """A step that a grant would run, in words. ``undo`` says what undoes it; None: it leaves
    nothing behind."""

    step: Literal["unbind", "bind", "park", "probe", "reset", "limit", "grant", "open"]
    address: AddressText | None = None
    group: int | None = None
    driver: str | None = None
    text: str
    undo: str | None = None


class DecisionInfo(Result):
    """The rule that decided, and the terms that matter. ``memlock`` is in bytes; ``anchor`` is
    what the lease will live as long as."""

    rule: str
    file: str
    hand_over: HandOver
    memlock: int | None
    scrub: Scrub
    anchor: Anchor


class AsOf(Result):
    """The picture and the policy that an answer was made from."""

    snapshot: int
    policy: int


class ExplainResult(Result):
    """What ``lease.acquire`` with the same parameters would do now. With ``allowed`` false
    ``refusal`` is the error object that it would answer."""

    allowed: bool
    decision: DecisionInfo | None = None
    plan: tuple[PlannedStep, ...] = ()
    devices: tuple[LeasedDevice, ...] = ()
    reset: LeaseReset | None = None
    warnings: tuple[str, ...] = ()
    refusal: dict[str, Any] | None = None
    as_of: AsOf


class LeaseResult(Result):
    """``reset`` is in the answer to lease.get."""

    lease: LeaseInfo
    reset: LeaseReset | None = None


class RevokeResult(Result):
    """What was done about a lease: whether its owner was ``asked`` (otherwise it ends already),
    what happens at the deadline, and what of the lease is still ``held``."""

    lease: LeaseInfo
    asked: bool
    held: tuple[AddressText, ...] = ()


class LeasePage(Result):
    leases: tuple[LeaseInfo, ...]
    next: str | None


class Reloaded(Result):
    """The policy in use now, by number."""

    policy: int
    rules: int
    warnings: tuple[str, ...]


class QuarantinedDevice(Result):
    """``vendor`` and ``product`` are what was put in quarantine; ``there`` says what is at the
    address now: the same kind of device, another one, or none. The quarantine holds for each."""

    address: AddressText
    vendor: str
    product: str
    why: str
    there: There


class Quarantines(Result):
    """All devices in quarantine. ``unknown`` says why these may not be all: then every device is
    given to nobody, until quarantine.clear with ``unknown``."""

    devices: tuple[QuarantinedDevice, ...]
    unknown: str | None = None
