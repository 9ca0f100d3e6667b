"""Hot resets: the states that decide about one, and isod's answer to whether it is permitted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .address import Address
from .request import AddressText

HotReset = Literal["never", "permitted_when", "permitted_now"]
ResetKind = Literal["slot", "bus"]


@dataclass(frozen=True, slots=True)
class ResetSet:
    """The functions that a hot reset of any of them hits, bridges and itself included.

    ``kind`` says how the kernel resets them: by their slot, or by their bus and all below it.
    """

    kind: ResetKind
    members: tuple[Address, ...]


class MemberState(StrEnum):
    """What a function of a reset set is to whoever asks for the reset.

    The first five are visible in sysfs. The others are all "on a vfio driver" there: who has such
    a function open, and how, only its user knows. The caller's own function is ``bound_here`` or
    ``group_opened``.
    """

    unbound = "unbound"
    kernel_driver = "kernel driver"
    stub = "pci-stub"
    bridge = "bridge"
    other_set = "vfio, in another device set"
    not_open = "vfio, not open"
    unbound_cdev = "vfio, open but unbound"
    bound_here = "vfio, bound to the caller's iommufd"
    bound_elsewhere = "vfio, bound to another iommufd"
    group_opened = "vfio, opened through the caller's group"
    group_elsewhere = "vfio, its group opened elsewhere"


class Claim(StrEnum):
    """How the asker stands to a function's group: by what the caller's device was opened with."""

    group_here = "on a cdev; a device of the group is bound to the caller's iommufd"
    group_not_here = "on a cdev; no device of the group is bound to the caller's iommufd"
    given = "on a group; the group's fd is passed"
    withheld = "on a group; the group's fd is not passed"


class ResetAnswer(BaseModel):
    """Whether a hot reset is permitted. Permitted is not successful: ENOTTY and EAGAIN remain.

    ``never``: whatever the client does, as long as the drivers stay as they are; ``why`` says what
    is in the way, ``blocked_by`` which devices. ``permitted_when``: ``when`` is the condition in
    words. It is met when a device of each of ``bind_groups`` is bound to one and the same iommufd,
    and the fds of exactly ``pass_groups`` are passed with the call. ``permitted_now``: it is met
    already, but for passing those fds. ``blocked_by`` then lists what belongs to others.
    """

    model_config = ConfigDict(frozen=True)

    hot: HotReset
    when: str | None = None
    why: str | None = None
    bind_groups: tuple[int, ...] = ()
    pass_groups: tuple[int, ...] = ()
    blocked_by: tuple[AddressText, ...] = ()

    def permits(self, bound: Collection[int], passed: Collection[int]) -> bool:
        """The kernel's verdict for a client whose iommufd has a device of each of the groups
        ``bound``, and who passes the fds of the groups ``passed`` (who passes more fds than the
        set has functions is told EINVAL for that)."""
        if self.hot == "never":
            return False
        return set(self.bind_groups) <= set(bound) and set(self.pass_groups) <= set(passed)


class SetAnswer(ResetAnswer):
    """The answer for the devices of a lease that share a reset set. ``hits`` are all functions of
    the set; ``by`` is None where there is no hot reset at all."""

    devices: tuple[AddressText, ...]
    by: ResetKind | None
    hits: tuple[AddressText, ...] = ()


class LeaseReset(ResetAnswer):
    """The answer for a lease: the worst of its sets, which ``sets`` has one by one."""

    sets: tuple[SetAnswer, ...] = ()


class ResetMember(BaseModel):
    """A function of a reset set. ``state`` as in host.devices; ``alone``: a function reset, which
    hits nothing else, exists. ``blocks``: with it as it is now, no hot reset is permitted."""

    model_config = ConfigDict(frozen=True)

    address: AddressText
    group: int | None
    driver: str | None
    state: str
    alone: bool
    bridge: bool
    blocks: bool


class ResetSetInfo(BaseModel):
    """What a hot reset of a device hits. ``total`` counts the members, of whom a very large set
    shows the first only. ``reset`` is the answer to whoever gets the device's own group."""

    model_config = ConfigDict(frozen=True)

    address: AddressText
    by: ResetKind | None
    slot: str | None
    alone: bool
    members: tuple[ResetMember, ...]
    total: int
    reset: ResetAnswer
    snapshot: int
