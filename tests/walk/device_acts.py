"""What a client does with the files of a lease, on either kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from isod.client.files import LeasedFiles
from isod.kernel.linux.control import control
from isod.kernel.linux.uapi import iommufd as uapi_iommufd
from isod.kernel.linux.uapi import vfio as uapi_vfio
from isod.kernel.simulated import calls

_IOVA = 0x1000000


class Ioctls(Protocol):
    """The calls that walks need. They raise OSError."""

    def bind(self, device: int, iommufd: int) -> None: ...

    def attach(self, device: int, iommufd: int) -> None: ...

    def viable(self, group: int) -> bool: ...

    def open_group(self, root: Path, number: int) -> int: ...


class SimulatedIoctls:
    def bind(self, device: int, iommufd: int) -> None:
        calls.bind_iommufd(device, iommufd)

    def attach(self, device: int, iommufd: int) -> None:
        calls.attach(device, calls.ioas_alloc(iommufd))

    def viable(self, group: int) -> bool:
        return calls.get_status(group).viable

    def open_group(self, root: Path, number: int) -> int:
        return calls.open_group(root, number)


class LinuxIoctls:
    def bind(self, device: int, iommufd: int) -> None:
        argument = uapi_vfio.vfio_device_bind_iommufd(argsz=16, iommufd=iommufd)
        control(device, uapi_vfio.VFIO_DEVICE_BIND_IOMMUFD, argument)

    def attach(self, device: int, iommufd: int) -> None:
        space = uapi_iommufd.iommu_ioas_alloc(size=12)
        control(iommufd, uapi_iommufd.IOMMU_IOAS_ALLOC, space)
        argument = uapi_vfio.vfio_device_attach_iommufd_pt(argsz=12, pt_id=space.out_ioas_id)
        control(device, uapi_vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, argument)

    def viable(self, group: int) -> bool:
        status = uapi_vfio.vfio_group_status(argsz=8)
        control(group, uapi_vfio.VFIO_GROUP_GET_STATUS, status)
        return bool(status.flags & uapi_vfio.VFIO_GROUP_FLAGS_VIABLE)

    def open_group(self, root: Path, number: int) -> int:
        return os.open(root / "dev/vfio" / str(number), os.O_RDWR | os.O_CLOEXEC)


class DeviceActs:
    """The acts by name, on the files of one lease. ``opened`` gets what they open."""

    def __init__(
        self, ioctls: Ioctls, root: Path, files: LeasedFiles, opened: dict[str, int]
    ) -> None:
        self._ioctls = ioctls
        self._root = root
        self._files = files
        self._opened = opened

    def run(self, act: str) -> object:
        found: Callable[[], object] = getattr(self, act)
        return found()

    def bind(self) -> None:
        """Bind every device to the lease's iommufd."""
        for device in self._files.devices.values():
            self._ioctls.bind(device, self._files.iommufd)

    def attach(self) -> None:
        for device in self._files.devices.values():
            self._ioctls.attach(device, self._files.iommufd)

    def bind_taken(self) -> None:
        """Bind a device that was taken out of its lease to a new iommufd."""
        iommufd = self._opened["iommufd None"]
        for name, descriptor in self._opened.items():
            if name.startswith("device"):
                self._ioctls.bind(descriptor, iommufd)

    def viable(self) -> bool:
        return all(self._ioctls.viable(group) for group in self._files.groups.values())

    def open_by_path(self) -> None:
        """Open the nodes of all groups that are there for us, as QEMU does with ``host=``."""
        found = 0
        for place in sorted((self._root / "dev/vfio").iterdir()):
            if place.name.isdecimal():
                try:
                    descriptor = self._ioctls.open_group(self._root, int(place.name))
                except PermissionError:
                    continue
                self._opened[f"group {place.name}"] = descriptor
                found += 1
        if not found:
            raise PermissionError(13, "no group's node may be opened")


class RealDeviceActs(DeviceActs):
    """What only a real kernel does."""

    def __init__(self, root: Path, files: LeasedFiles, opened: dict[str, int]) -> None:
        super().__init__(LinuxIoctls(), root, files, opened)

    def map_memory(self) -> None:
        """Map memory for DMA through the lease's container; it goes with the container."""
        self._map(1 << 20)

    def map_much_memory(self) -> None:
        """Map more than the 8 MiB that a process may lock by itself."""
        self._map(16 << 20)

    def _map(self, size: int) -> None:
        with mmap.mmap(-1, size) as memory:
            argument = uapi_vfio.vfio_iommu_type1_dma_map(
                argsz=32,
                flags=uapi_vfio.VFIO_DMA_MAP_FLAG_READ | uapi_vfio.VFIO_DMA_MAP_FLAG_WRITE,
                vaddr=ctypes.addressof(ctypes.c_char.from_buffer(memory)),
                iova=_IOVA,
                size=size,
            )
            control(self._files.container, uapi_vfio.VFIO_IOMMU_MAP_DMA, argument)

    def config(self) -> dict[str, str]:
        """The first four bytes of each device's config space, in hexadecimal: who made it, what."""
        found = {}
        for address, device in self._files.devices.items():
            info = uapi_vfio.vfio_region_info(
                argsz=32, index=uapi_vfio.VFIO_PCI_CONFIG_REGION_INDEX
            )
            control(device, uapi_vfio.VFIO_DEVICE_GET_REGION_INFO, info)
            found[address.name] = os.pread(device, 4, info.offset).hex()
        return found


def acts_on(kind: str, root: Path, files: LeasedFiles, opened: dict[str, int]) -> DeviceActs:
    """The acts on a lease's files, on a machine of that kind."""
    if kind == "simulated":
        return DeviceActs(SimulatedIoctls(), root, files, opened)
    return RealDeviceActs(root, files, opened)
