"""What this kernel offers."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from isod.model.host import Features

from .control import control
from .node import CONTAINER, IOMMUFD, open_node
from .uapi.iommufd import IOMMU_IOAS_ALLOC, iommu_ioas_alloc
from .uapi.vfio import (
    VFIO_API_VERSION,
    VFIO_CHECK_EXTENSION,
    VFIO_GET_API_VERSION,
    VFIO_TYPE1v2_IOMMU,
)

_CDEV_REGION = re.compile(r"^ *[0-9]+ vfio-dev$", re.MULTILINE)


def detect_features(root: Path) -> Features:
    """Look at nodes and modules; opens ``/dev/vfio/vfio`` and ``/dev/iommu`` and closes them."""
    return Features(
        iommufd=_has_iommufd(root),
        cdev=_has_cdev(root),
        container=_has_native_container(root),
        noiommu=_has_noiommu(root),
        kernel=os.uname().release,
    )


def allocates_address_space(descriptor: int) -> bool:
    """Whether a file is an iommufd: only those can allocate an IOAS, which goes with the file."""
    argument = iommu_ioas_alloc(size=12)
    try:
        control(descriptor, IOMMU_IOAS_ALLOC, argument)
    except OSError:
        return False
    return True


def _has_iommufd(root: Path) -> bool:
    try:
        descriptor = open_node(root, IOMMUFD)
    except OSError:
        return False
    try:
        return allocates_address_space(descriptor)
    finally:
        os.close(descriptor)


def _has_native_container(root: Path) -> bool:
    """Whether ``/dev/vfio/vfio`` is VFIO's own container with a type1 driver.

    IOMMUFD may provide the node instead (CONFIG_IOMMUFD_VFIO_CONTAINER). Both answer the
    container's ioctls; only an iommufd allocates an IOAS, which the container without an IOMMU
    refuses as EINVAL (drivers/vfio/container.c, drivers/iommu/iommufd/main.c).
    """
    try:
        descriptor = open_node(root, CONTAINER)
    except OSError:
        return False
    try:
        with suppress(OSError):
            return (
                control(descriptor, VFIO_GET_API_VERSION) == VFIO_API_VERSION
                and control(descriptor, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) > 0
                and not allocates_address_space(descriptor)
            )
        return False
    finally:
        os.close(descriptor)


def _has_cdev(root: Path) -> bool:
    """The class ``vfio-dev`` is there without CONFIG_VFIO_DEVICE_CDEV too; the region of device
    numbers is not (drivers/vfio/device_cdev.c)."""
    try:
        return _CDEV_REGION.search((root / "proc/devices").read_text()) is not None
    except OSError:
        return False


def _has_noiommu(root: Path) -> bool:
    switch = root / "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
    try:
        return switch.read_text().strip() == "Y"
    except OSError:
        return False
