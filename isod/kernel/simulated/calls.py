"""What a client may do with the fds that it received from a simulated isod.

Every function takes fd numbers, and raises OSError with the errno that the kernel would give.
Opening nodes by path (the ``nodes`` hand-over, other root programs) needs the host's directory.
"""

from __future__ import annotations

import errno
import os

from .called import called
from .cdev_calls import attach, bind_iommufd, destroy, detach, ioas_alloc, set_rlimit_mode
from .failure import failure
from .group_calls import (
    NOIOMMU,
    TYPE1,
    TYPE1V2,
    GroupStatus,
    get_device_fd,
    get_status,
    set_container,
    set_iommu,
    unset_container,
)
from .memory import ioas_map, ioas_unmap, map_dma, unmap_dma
from .nodes import open_cdev, open_container, open_group, open_iommufd
from .records import DeviceFile
from .reset_calls import (
    NOT_OWNED,
    OWNED,
    Dependent,
    HotResetInfo,
    NoSpaceError,
    device_reset,
    hot_reset,
    hot_reset_info,
)

__all__ = [
    "NOIOMMU",
    "NOT_OWNED",
    "OWNED",
    "TYPE1",
    "TYPE1V2",
    "Dependent",
    "GroupStatus",
    "HotResetInfo",
    "NoSpaceError",
    "attach",
    "bind_iommufd",
    "config_read",
    "destroy",
    "detach",
    "device_name",
    "device_reset",
    "get_device_fd",
    "get_status",
    "hot_reset",
    "hot_reset_info",
    "ioas_alloc",
    "ioas_map",
    "ioas_unmap",
    "map_dma",
    "open_cdev",
    "open_container",
    "open_group",
    "open_iommufd",
    "set_container",
    "set_iommu",
    "set_rlimit_mode",
    "unmap_dma",
    "unset_container",
]


def config_read(device: int, offset: int, length: int) -> bytes:
    """Read a device's config space. Raises EINVAL before BIND."""
    with called(device, DeviceFile) as file:
        if not file.record.granted:
            raise failure(errno.EINVAL, "not bound")
        path = file.host.tree.devices / file.record.device / "config"
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)


def device_name(device: int) -> str:
    """The PCI name of a device fd, as fdinfo's ``vfio-device-syspath`` ends."""
    with called(device, DeviceFile) as file:
        return file.record.device
