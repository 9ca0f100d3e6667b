"""DMA mappings and what they are charged to (vfio_iommu_type1.c, iommufd/pages.c)."""

from __future__ import annotations

import errno
import os
import resource

from .called import CAP_IPC_LOCK, called, capable
from .failure import failure
from .host import Host
from .limits import recorded_limit
from .opens import CONTEXTS, look
from .records import Container, Iommufd, Mapping
from .tree import names_in

PAGE = 4096


def map_dma(container: int, address: int, size: int) -> None:
    """VFIO_IOMMU_MAP_DMA of ``size`` bytes of the caller's memory at IO address ``address``.

    Raises EINVAL without an IOMMU or off page bounds, ENOTTY for no-IOMMU, EEXIST for an
    overlap, ENOMEM past the caller's RLIMIT_MEMLOCK.
    """
    with called(container, Container) as file:
        record = file.record
        if not file.host.container_groups(file.name, record) or record.iommu is None:
            raise failure(errno.EINVAL, "no IOMMU is set")
        if record.iommu == 8:
            raise failure(errno.ENOTTY, "no-IOMMU maps nothing")
        _check(record.mappings, address, size, errno.EEXIST)
        _charge(file.host, size)
        record.mappings.append((address, size, os.getpid()))
        file.save()


def unmap_dma(container: int, address: int, size: int) -> int:
    """VFIO_IOMMU_UNMAP_DMA of whole mappings; returns the bytes unmapped. Raises EINVAL."""
    with called(container, Container) as file:
        # With its last group the container loses its IOMMU.
        if not file.host.container_groups(file.name, file.record) or file.record.iommu is None:
            raise failure(errno.EINVAL, "no IOMMU is set")
        kept, unmapped = _without(file.record.mappings, address, size)
        file.record.mappings = kept
        file.save()
        return unmapped


def ioas_map(iommufd: int, space: int, address: int, size: int) -> None:
    """IOMMU_IOAS_MAP at a fixed address. Raises ENOENT for no such IOAS, EINVAL, EADDRINUSE for
    an overlap, ENOMEM past the limit."""
    with called(iommufd, Iommufd) as file:
        mappings = file.record.spaces.get(str(space))
        if mappings is None:
            raise failure(errno.ENOENT, f"no IOAS {space}")
        _check(mappings, address, size, errno.EADDRINUSE)
        _charge(file.host, size)
        mappings.append((address, size, os.getpid()))
        file.save()


def ioas_unmap(iommufd: int, space: int, address: int, size: int) -> int:
    """IOMMU_IOAS_UNMAP of whole mappings; returns the bytes unmapped. Raises ENOENT."""
    with called(iommufd, Iommufd) as file:
        mappings = file.record.spaces.get(str(space))
        if mappings is None:
            raise failure(errno.ENOENT, f"no IOAS {space}")
        kept, unmapped = _without(mappings, address, size)
        if not unmapped:
            raise failure(errno.ENOENT, "nothing is mapped there")
        file.record.spaces[str(space)] = kept
        file.save()
        return unmapped


def _check(mappings: list[Mapping], address: int, size: int, overlap: int) -> None:
    if size <= 0 or address < 0 or address % PAGE or size % PAGE:
        raise failure(errno.EINVAL, "not whole pages")
    if any(address < at + length and at < address + size for at, length, _ in mappings):
        raise failure(overlap, "mapped already")


def _without(mappings: list[Mapping], address: int, size: int) -> tuple[list[Mapping], int]:
    inside = [one for one in mappings if address <= one[0] and one[0] + one[1] <= address + size]
    kept = [one for one in mappings if one not in inside]
    return kept, sum(length for _, length, _ in inside)


def _charge(host: Host, size: int) -> None:
    """Raise ENOMEM where the caller's pinned memory would exceed its limit."""
    if capable(CAP_IPC_LOCK):
        return
    caller = os.getpid()
    recorded = recorded_limit(host, caller)
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] if recorded is None else recorded[0]
    if limit < 0:
        return
    pinned = 0
    for name in names_in(host.tree.opens / CONTEXTS):
        opened = look(host.tree.opens, f"{CONTEXTS}/{name}")
        if opened is None or not opened.alive:
            continue
        if isinstance(opened.record, Container):
            lists = [opened.record.mappings]
        elif isinstance(opened.record, Iommufd):
            lists = list(opened.record.spaces.values())
        else:
            continue
        pinned += sum(length for each in lists for _, length, pid in each if pid == caller)
    if pinned + size > limit:
        raise failure(errno.ENOMEM, "past RLIMIT_MEMLOCK")
