"""The steps of a plan: what isod asks of the kernel, one small act each.

Every step is idempotent: run again after a crash it ends in the same state. A step that changes
something has a way back (``core.plan`` computes it); steps that only look have none.
``generation`` is checked before each act: the device at the address must still be the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .address import Address

HandOver = Literal["iommufd", "group", "nodes"]
Scrub = Literal["require", "try", "off"]


@dataclass(frozen=True, slots=True)
class GroupName:
    """An IOMMU group by number and generation (inode of its directory; numbers are recycled)."""

    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class Unbind:
    """Take a device from its kernel driver.

    Writes ``driver_override`` first, so that no other probe catches the device in between, then
    ``driver/unbind``. An ``override`` of None leaves that file alone (bridges, which stay
    unbound). Way back: Restore.
    """

    address: Address
    generation: int
    driver: str
    override: str | None
    step: Literal["unbind"] = "unbind"


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind a driverless device to a vfio driver and read the ``driver`` link back.

    ``sibling`` says that nobody asked for it: it is parked. Way back: Fence, Restore.
    """

    address: Address
    generation: int
    driver: str
    sibling: bool = False
    step: Literal["bind"] = "bind"


@dataclass(frozen=True, slots=True)
class Probe:
    """Look whether a group can be owned now, leaving no trace.

    Opens ``/dev/vfio/N`` and asks GET_STATUS. Refuses with ``held_outside`` (EBUSY),
    ``not_viable`` (flag clear). With ``full`` it also claims the group for the hand-over and lets
    go again: SET_CONTAINER and SET_IOMMU, or a private BIND on a new iommufd; that is the only
    way to learn about ``no_isolated_msi`` (EPERM) and ``firmware_mapping`` (EINVAL).
    ``device`` is the member that a private BIND uses. With ``held_only`` nothing is asked but
    whether somebody has the group open: the first look, before a plan changes anything, while
    members may still sit on kernel drivers. No node yet means that nobody has.
    """

    group: GroupName
    hand_over: HandOver
    device: Address
    full: bool = False
    held_only: bool = False
    step: Literal["probe"] = "probe"


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset one function between two owners (sysfs ``reset``), while nobody has it open.

    It has worked when the kernel says so and the device answers afterwards. With ``required`` a
    failure fails the step; otherwise it is reported in the result.
    """

    address: Address
    generation: int
    required: bool
    step: Literal["reset"] = "reset"


@dataclass(frozen=True, slots=True)
class HotReset:
    """Reset the whole reset set of a device between two owners (VFIO_DEVICE_PCI_HOT_RESET), while
    nobody has any of it open.

    Every function of the set must be on a vfio driver, and one of ``members`` (address and
    generation): before anything is reset the kernel is asked for the set, and one with anything
    else in it is left alone. ``groups`` are the groups of the members. All fds are closed again.

    Always refuses with ``reset_domain_shared`` (the set is not ours alone), ``held_outside`` or
    ``in_use`` (somebody has a part of it, try again): nothing was reset then. A reset that fails,
    or after which a member does not answer, fails the step if ``required``, and is otherwise
    reported in the result.
    """

    address: Address
    generation: int
    members: tuple[tuple[Address, int], ...]
    groups: tuple[GroupName, ...]
    required: bool
    step: Literal["hot_reset"] = "hot_reset"


@dataclass(frozen=True, slots=True)
class Limit:
    """Set RLIMIT_MEMLOCK of a process to ``soft``/``hard`` bytes (-1: unlimited).

    ``started`` is the process's start time (field 22 of /proc/PID/stat): a reused pid is left
    alone, and a process that is gone is no failure. With ``raise_only`` the limit never sinks.
    The result's ``former_limit`` tells what it was.
    """

    pid: int
    started: int
    soft: int
    hard: int
    raise_only: bool = True
    step: Literal["limit"] = "limit"


@dataclass(frozen=True, slots=True)
class GrantNodes:
    """Give a uid rights on the nodes of groups, all or none (POSIX ACL entries)."""

    groups: tuple[GroupName, ...]
    uid: int
    step: Literal["grant_nodes"] = "grant_nodes"


@dataclass(frozen=True, slots=True)
class RevokeNodes:
    """Take the rights back. Nodes that are gone took theirs along."""

    groups: tuple[GroupName, ...]
    uid: int
    step: Literal["revoke_nodes"] = "revoke_nodes"


@dataclass(frozen=True, slots=True)
class OpenIommufd:
    """Open a new iommufd (with per-process accounting, if the kernel grants it) unless ``iommufd``
    is False, and the cdev of every device, unbound. The fds are in the result, in order: iommufd,
    devices."""

    devices: tuple[Address, ...]
    iommufd: bool = True
    step: Literal["open_iommufd"] = "open_iommufd"


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """Open a container and the groups; with ``ready`` also set up container and type1 IOMMU and
    open the devices. The fds are in the result, in order: container, groups, devices."""

    groups: tuple[GroupName, ...]
    devices: tuple[Address, ...]
    ready: bool = True
    step: Literal["open_group"] = "open_group"


@dataclass(frozen=True, slots=True)
class Fence:
    """Unbind from vfio-pci: when it has returned, no file of the device is open (the kernel waits
    for unbound cdevs too). Done already if the device is on no vfio driver, or gone.

    May wait for a client for ever, so it runs in the helper process: see ``Kernel.start``.
    """

    address: Address
    generation: int
    step: Literal["fence"] = "fence"


@dataclass(frozen=True, slots=True)
class Restore:
    """Give a device without a vfio driver back: former ``driver_override`` (None: unset), then
    ``drivers_probe`` if it had a driver, then read back. Run after a Fence only.

    ``own``: it was added while its group was leased, and isod was quicker than its own driver could
    be: it is probed as if it came now, unless the bus is told not to (``drivers_autoprobe``).
    """

    address: Address
    generation: int
    driver: str | None
    override: str | None
    own: bool = False
    step: Literal["restore"] = "restore"


Step = (
    Unbind
    | Bind
    | Probe
    | Reset
    | HotReset
    | Limit
    | GrantNodes
    | RevokeNodes
    | OpenIommufd
    | OpenGroup
    | Fence
    | Restore
)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An fd that a step opened, with its role in the hand-over.

    The number is owned by whoever holds the StepResult: the executor closes it, or sends it and
    closes its copy.
    """

    role: Literal["hold", "iommufd", "container", "group", "device"]
    descriptor: int
    address: Address | None = None
    group: int | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step brought: opened files, and remarks for the lease's ``warnings``."""

    files: tuple[OpenFile, ...] = ()
    warnings: tuple[str, ...] = ()
    former_limit: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """What the passive and harmless probes say about some devices: ``open`` names those that
    somebody still has open as far as can be seen (an unbound cdev cannot be)."""

    open: tuple[Address, ...] = ()
    busy_groups: tuple[int, ...] = field(default=())

    @property
    def idle(self) -> bool:
        return not self.open and not self.busy_groups
