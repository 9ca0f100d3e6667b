"""What the contract suite needs of a host, beside the port itself: other programs and hot-plug.

``linux_host.py`` offers it on a real kernel inside a guest, ``simulated_host.py`` on a simulated
one. A case never asks which host it runs on; it names the abilities that it stands on with
``host.needs(...)``, which skips the case with the host's own reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from isod.kernel.port import Kernel
from isod.model.address import Address
from isod.model.host import Device

Role = Literal["single", "pair", "behind_bridge", "bare"]
"""Devices of the standard topology, by shape and never by number:

``single``        alone in its group, on a kernel driver, with a function reset (the NVMe)
``pair``          the first of two functions that share a group (an e1000e)
``behind_bridge`` the first of two NICs in one group with the PCI bridge above them (an e1000);
                  the bridge is on shpchp, which manages DMA, so the group is not viable at first
``bare``          without a group
"""

Ability = Literal["iommufd", "container", "uevents", "hotplug", "acl", "limits", "dma", "shpchp"]
"""What a case may stand on:

``iommufd``    /dev/iommu, device cdevs and binding them
``container``  the native type1 container: SET_CONTAINER, SET_IOMMU, GET_DEVICE_FD
``uevents``    the kernel reports binds and hot-plug
``hotplug``    ``unplug`` and ``replug``
``acl``        POSIX ACLs on nodes
``limits``     another process's RLIMIT_MEMLOCK can be set
``dma``        handed-over fds take real ioctls: MAP_DMA, regions
``shpchp``     the PCI bridge of ``behind_bridge`` has a driver that blocks the group
"""


class HostUnderTest(Protocol):
    """A host with the named topology, its kernel's port, and what other programs do to it.

    One for every case, closed after it: ``close`` ends what the case left (kernels from
    ``new_kernel``, fds from ``open_*``) and puts every device back on the driver it had at first.
    """

    name: str
    """For the summary: ``linux 6.12``, ``simulated``."""

    root: Path
    """The directory that stands for ``/``: ``root/"sys"``, ``root/"dev"``."""

    kernel: Kernel
    """The port. ``new_kernel`` gives further ones on the same host (a restarted daemon)."""

    def new_kernel(self) -> Kernel: ...

    def lacks(self, ability: Ability) -> str | None:
        """None if the host has it, else the reason why not, as one phrase."""
        ...

    def device(self, role: Role) -> Device:
        """The device of that role, as scanned now. Skips the case where there is none."""
        ...

    # --- other programs: plain opens and ioctls, errors as OSError with the kernel's errno -------

    def open_group(self, number: int) -> int:
        """Open ``/dev/vfio/N`` as any root program would (EBUSY while it is open)."""
        ...

    def open_cdev(self, name: str) -> int:
        """Open ``/dev/vfio/devices/NAME``: the file is not bound yet."""
        ...

    def bind_cdev(self, cdev: int) -> int:
        """BIND an open cdev to a new iommufd, which is returned (ability ``iommufd``)."""
        ...

    # --- hot-plug and bare hands ------------------------------------------------------------------

    def unplug(self, address: Address) -> None:
        """Surprise removal, as sysfs ``remove`` does it (ability ``hotplug``)."""
        ...

    def replug(self, address: Address) -> None:
        """Bring an unplugged device back at its address: a new instance, on no vfio driver."""
        ...

    def write(self, address: Address, attribute: str, text: str) -> None:
        """Write a sysfs attribute of a device: ``driver_override``, or ``reset_method``."""
        ...

    def unbind(self, address: Address) -> None:
        """Take a device from its kernel driver behind the port's back."""
        ...

    def acl(self, node: str) -> dict[int, str]:
        """The uid entries of a node's ACL: path below /dev (``vfio/12``) -> ``rw``-like text."""
        ...

    def close(self) -> None: ...
