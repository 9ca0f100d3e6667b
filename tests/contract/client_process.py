"""A client: a process of another user that gets fds over a socket and uses them as told.

Run as ``python client_process.py UID ROOT`` with a SOCK_SEQPACKET socket as stdin. Each packet is
a JSON request with the fds that it brings; each answer is a JSON object, ``{"errno": N}`` for a
failed call. Fds are kept under names.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Python puts the script's own folder first; the project is two above it.
sys.path[0] = str(Path(__file__).parents[2])

from isod.kernel.linux.control import control  # noqa: E402
from isod.kernel.linux.uapi import iommufd as uapi_iommufd  # noqa: E402
from isod.kernel.linux.uapi import vfio as uapi_vfio  # noqa: E402

_IOVA = 0x1000000


class ClientProcess:
    """The acts by name; each takes the request and returns the answer. Raises OSError."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.memory: list[mmap.mmap] = []

    def keep(self, request: dict[str, Any], received: list[int]) -> object:
        self.files.update(zip(request["names"], received, strict=True))
        return sorted(self.files)

    def open(self, request: dict[str, Any], _: list[int]) -> object:
        self.files[request["name"]] = os.open(request["path"], os.O_RDWR | os.O_CLOEXEC)
        return None

    def close(self, request: dict[str, Any], _: list[int]) -> object:
        os.close(self.files.pop(request["name"]))
        return None

    def map(self, request: dict[str, Any], _: list[int]) -> object:
        """Map memory for DMA through a container."""
        size = request["size"]
        argument = uapi_vfio.vfio_iommu_type1_dma_map(
            argsz=32,
            flags=uapi_vfio.VFIO_DMA_MAP_FLAG_READ | uapi_vfio.VFIO_DMA_MAP_FLAG_WRITE,
            vaddr=self._memory(size),
            iova=_IOVA,
            size=size,
        )
        control(self.files[request["name"]], uapi_vfio.VFIO_IOMMU_MAP_DMA, argument)
        return None

    def attach(self, request: dict[str, Any], _: list[int]) -> object:
        """Bind a cdev to an iommufd, attach it to a new address space and map memory there."""
        iommufd, device = self.files[request["iommufd"]], self.files[request["device"]]
        bind = uapi_vfio.vfio_device_bind_iommufd(argsz=16, iommufd=iommufd)
        control(device, uapi_vfio.VFIO_DEVICE_BIND_IOMMUFD, bind)
        space = uapi_iommufd.iommu_ioas_alloc(size=12)
        control(iommufd, uapi_iommufd.IOMMU_IOAS_ALLOC, space)
        attach = uapi_vfio.vfio_device_attach_iommufd_pt(argsz=12, pt_id=space.out_ioas_id)
        control(device, uapi_vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, attach)
        size = request["size"]
        argument = uapi_iommufd.iommu_ioas_map(
            size=40,
            flags=uapi_iommufd.IOMMU_IOAS_MAP_FIXED_IOVA
            | uapi_iommufd.IOMMU_IOAS_MAP_READABLE
            | uapi_iommufd.IOMMU_IOAS_MAP_WRITEABLE,
            ioas_id=space.out_ioas_id,
            user_va=self._memory(size),
            length=size,
            iova=_IOVA,
        )
        control(iommufd, uapi_iommufd.IOMMU_IOAS_MAP, argument)
        return None

    def config(self, request: dict[str, Any], _: list[int]) -> object:
        """The first 16 bytes of a device's config space, in hexadecimal."""
        device = self.files[request["name"]]
        info = uapi_vfio.vfio_region_info(argsz=32, index=uapi_vfio.VFIO_PCI_CONFIG_REGION_INDEX)
        control(device, uapi_vfio.VFIO_DEVICE_GET_REGION_INFO, info)
        return os.pread(device, 16, info.offset).hex()

    def _memory(self, size: int) -> int:
        memory = mmap.mmap(-1, size)
        self.memory.append(memory)
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def main() -> None:
    uid = int(sys.argv[1])
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    client = ClientProcess()
    with socket.socket(fileno=0) as line:
        while True:
            data, received, _, _ = socket.recv_fds(line, 65536, 64)
            if not data:
                return
            request = json.loads(data)
            act: Callable[[dict[str, Any], list[int]], object] = getattr(client, request["act"])
            try:
                answer = {"errno": 0, "result": act(request, received)}
            except OSError as error:
                answer = {"errno": error.errno, "result": None}
            line.send(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
