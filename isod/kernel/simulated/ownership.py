"""Who owns a group's DMA: its kernel drivers, a container, an iommufd, or nobody.

drivers/iommu/iommu.c: kernel drivers and user space exclude each other, and so do two users.
A group that is merely open is owned by nobody.
"""

from __future__ import annotations

import errno

from .failure import failure
from .host import Host
from .records import DeviceFile

KERNEL = "kernel"


def owner(host: Host, group: int) -> str | None:
    """KERNEL, or the name of the group file or iommufd that claimed the group; None if free."""
    if any(_blocks(host, member) for member in host.tree.members(group)):
        return KERNEL
    for name, record in host.group_files(group):
        if record.container is not None:
            return name
    for opened in host.files(group):
        if isinstance(opened.record, DeviceFile) and opened.record.iommufd is not None:
            return opened.record.iommufd
    return None


def owned_by_user(host: Host, group: int | None) -> bool:
    """Whether user space owns the group, so that no kernel driver may probe a member."""
    return group is not None and owner(host, group) not in (None, KERNEL)


def claim(host: Host, group: int, claimant: str) -> None:
    """Check that ``claimant`` may take the group. The claim itself is its open file's record.

    Raises EPERM (another owner, a kernel driver), EINVAL (firmware wants 1:1 mappings).
    """
    current = owner(host, group)
    if current == claimant:
        return
    if current is not None:
        raise failure(errno.EPERM, "the group has another owner")
    if firmware_mappings(host, group):
        raise failure(errno.EINVAL, "firmware wants memory of the group mapped 1:1")


def firmware_mappings(host: Host, group: int) -> bool:
    """Whether a reserved region of the group is of type ``direct``."""
    try:
        regions = (host.tree.groups / str(group) / "reserved_regions").read_text()
    except FileNotFoundError:
        return False
    return any(line.split()[-1:] == ["direct"] for line in regions.splitlines())


def _blocks(host: Host, member: str) -> bool:
    """Whether a member's driver manages DMA."""
    return host.machine.kind(host.tree.driver(member)) == "kernel"
