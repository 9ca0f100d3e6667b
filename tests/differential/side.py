"""What a sequence is played on: a kernel behind its port, and all that other programs do to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from isod.kernel.port import Kernel
from isod.model.host import Device
from isod.model.step import GroupName

IOVA = 0x1000000
PAGE = 4096

GroupState = tuple[bool, bool]
"""Viable, and set in a container."""


@dataclass(frozen=True)
class HotReset:
    """What a hot reset would hit: functions with what the kernel says of each (the group's number;
    or ``bound``, ``owned``, ``not owned``), and the flag OWNED for callers by cdev."""

    functions: tuple[tuple[str, str], ...]
    owned: bool | None


@dataclass(frozen=True)
class Seen:
    """What sysfs shows of a device."""

    driver: str | None
    override: str | None
    cdev: str | None


class Raw(Protocol):
    """Plain opens and ioctls. Files are numbers of fds; errors are OSErrors with the kernel's
    errno."""

    def open_container(self) -> int: ...
    def open_iommufd(self) -> int: ...
    def open_group(self, number: int) -> int: ...
    def open_cdev(self, name: str) -> int: ...
    def set_container(self, group: int, container: int) -> None: ...
    def unset_container(self, group: int) -> None: ...
    def set_iommu(self, container: int) -> None: ...
    def status(self, group: int) -> GroupState: ...
    def get_device(self, group: int, device: str) -> int: ...
    def bind(self, device: int, iommufd: int) -> None: ...
    def allocate_space(self, iommufd: int) -> int: ...
    def attach(self, device: int, space: int) -> None: ...
    def detach(self, device: int) -> None: ...
    def read_config(self, device: int) -> str: ...
    def reset(self, device: int) -> None: ...
    def hot_reset_info(self, device: int) -> HotReset: ...
    def hot_reset(self, device: int, groups: Sequence[int]) -> None: ...
    def map(self, container: int) -> None: ...
    def unmap(self, container: int) -> int: ...


class Side(Protocol):
    """A host. Devices are PCI names."""

    name: str
    kernel: Kernel
    raw: Raw
    known: dict[str, Device]
    """What was looked at before."""
    groups: dict[str, GroupName]
    """And the groups of these, if they have any."""

    def arrange(self, device: str, driver: str | None, resets: str | None) -> None:
        """Put a device that nobody has open on a driver or none, with a ``reset_method`` (None:
        the kernel's own choice). What no driver takes stays without one."""
        ...

    def see(self, device: str) -> Seen:
        """As the port's look, but quick: it is what is done most."""
        ...

    def override(self, device: str, driver: str | None) -> None: ...

    def release(self, device: str) -> None:
        """Write to ``unbind`` of its driver, which is none of vfio's. Raises OSError."""
        ...

    def probe(self, device: str) -> None:
        """Write to ``drivers_probe``. Raises OSError."""
        ...

    def begin_fence(self, device: str) -> None: ...

    def waiting(self) -> frozenset[str]:
        """The devices whose fence waits for an open file; those that came to their end are
        forgotten."""
        ...

    def close(self) -> None: ...
