"""A sequence's host is the guest that it runs in."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from isod.kernel.helper import Helpers, PendingWrites, Write
from isod.kernel.linux import LinuxKernel
from isod.kernel.linux.control import control
from isod.kernel.linux.uapi import iommufd as uapi_iommufd
from isod.kernel.linux.uapi import vfio as uapi
from isod.kernel.linux.variants import is_vfio_driver
from isod.kernel.overrides import parse_override
from isod.kernel.port import Kernel
from isod.kernel.tree import names_in
from isod.model.host import Device
from isod.model.step import GroupName

from .generate import Stock
from .side import IOVA, PAGE, GroupState, HotReset, Raw, Seen

# Texts and plain calls: what is done most often is slow in an emulated guest.
_PCI = "/sys/bus/pci"
_DEVICES = f"{_PCI}/devices"
_PATIENCE_SECONDS = 60.0
_ROOM = 64
_FUNCTION = ctypes.sizeof(uapi.vfio_pci_dependent_device)
_HEAD = ctypes.sizeof(uapi.vfio_pci_hot_reset_info)

# Where an unbind waits for the files of its device (drivers/vfio/vfio_main.c).
_WAITS_FOR_FILES = "vfio_unregister_group_dev"


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).decode()
    finally:
        os.close(descriptor)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


class LinuxRaw:
    """Implements Raw."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PAGE)

    def open_container(self) -> int:
        return _open("/dev/vfio/vfio")

    def open_iommufd(self) -> int:
        return _open("/dev/iommu")

    def open_group(self, number: int) -> int:
        return _open(f"/dev/vfio/{number}")

    def open_cdev(self, name: str) -> int:
        return _open(f"/dev/vfio/devices/{name}")

    def set_container(self, group: int, container: int) -> None:
        argument = bytearray(ctypes.c_int(container))
        control(group, uapi.VFIO_GROUP_SET_CONTAINER, argument)

    def unset_container(self, group: int) -> None:
        control(group, uapi.VFIO_GROUP_UNSET_CONTAINER)

    def set_iommu(self, container: int) -> None:
        control(container, uapi.VFIO_SET_IOMMU, uapi.VFIO_TYPE1v2_IOMMU)

    def status(self, group: int) -> GroupState:
        found = uapi.vfio_group_status(argsz=8)
        control(group, uapi.VFIO_GROUP_GET_STATUS, found)
        return (
            bool(found.flags & uapi.VFIO_GROUP_FLAGS_VIABLE),
            bool(found.flags & uapi.VFIO_GROUP_FLAGS_CONTAINER_SET),
        )

    def get_device(self, group: int, device: str) -> int:
        return control(group, uapi.VFIO_GROUP_GET_DEVICE_FD, bytearray(device.encode() + b"\0"))

    def bind(self, device: int, iommufd: int) -> None:
        argument = uapi.vfio_device_bind_iommufd(argsz=16, iommufd=iommufd)
        control(device, uapi.VFIO_DEVICE_BIND_IOMMUFD, argument)

    def allocate_space(self, iommufd: int) -> int:
        argument = uapi_iommufd.iommu_ioas_alloc(size=12)
        control(iommufd, uapi_iommufd.IOMMU_IOAS_ALLOC, argument)
        return int(argument.out_ioas_id)

    def attach(self, device: int, space: int) -> None:
        argument = uapi.vfio_device_attach_iommufd_pt(argsz=12, pt_id=space)
        control(device, uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, argument)

    def detach(self, device: int) -> None:
        argument = uapi.vfio_device_detach_iommufd_pt(argsz=8)
        control(device, uapi.VFIO_DEVICE_DETACH_IOMMUFD_PT, argument)

    def read_config(self, device: int) -> str:
        info = uapi.vfio_region_info(argsz=32, index=uapi.VFIO_PCI_CONFIG_REGION_INDEX)
        control(device, uapi.VFIO_DEVICE_GET_REGION_INFO, info)
        return os.pread(device, 4, info.offset).hex()

    def reset(self, device: int) -> None:
        control(device, uapi.VFIO_DEVICE_RESET)

    def hot_reset_info(self, device: int) -> HotReset:
        found = bytearray(_HEAD + _ROOM * _FUNCTION)
        uapi.vfio_pci_hot_reset_info.from_buffer(found).argsz = len(found)
        control(device, uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, found)
        head = uapi.vfio_pci_hot_reset_info.from_buffer_copy(found)
        by_devid = bool(head.flags & uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID)
        words = {0: "owned", 0xFFFFFFFF: "not owned"}
        functions = []
        for number in range(head.count):
            one = uapi.vfio_pci_dependent_device.from_buffer_copy(found, _HEAD + number * _FUNCTION)
            name = f"{one.segment:04x}:{one.bus:02x}:{one.devfn >> 3:02x}.{one.devfn & 7}"
            said = words.get(one.devid, "bound") if by_devid else str(one.group_id)
            functions.append((name, said))
        owned = bool(head.flags & uapi.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED)
        return HotReset(tuple(functions), owned if by_devid else None)

    def hot_reset(self, device: int, groups: Sequence[int]) -> None:
        argument = bytearray(uapi.vfio_pci_hot_reset(argsz=12 + 4 * len(groups), count=len(groups)))
        argument += bytearray((ctypes.c_int * len(groups))(*groups))
        control(device, uapi.VFIO_DEVICE_PCI_HOT_RESET, argument)

    def map(self, container: int) -> None:
        argument = uapi.vfio_iommu_type1_dma_map(
            argsz=32,
            flags=uapi.VFIO_DMA_MAP_FLAG_READ | uapi.VFIO_DMA_MAP_FLAG_WRITE,
            vaddr=ctypes.addressof(ctypes.c_char.from_buffer(self._memory)),
            iova=IOVA,
            size=PAGE,
        )
        control(container, uapi.VFIO_IOMMU_MAP_DMA, argument)

    def unmap(self, container: int) -> int:
        argument = uapi.vfio_iommu_type1_dma_unmap(argsz=24, iova=IOVA, size=PAGE)
        control(container, uapi.VFIO_IOMMU_UNMAP_DMA, argument)
        return int(argument.size)


class LinuxSide:
    """Implements Side. Every write to sysfs is a helper's: this process has files open."""

    name = "linux"

    def __init__(self, stock: Stock | None = None) -> None:
        """The stock knows how the kernel's own choice of reset methods reads."""
        resets = {} if stock is None else stock.resets
        self._resets = {name: " ".join(found) for name, found in resets.items()}
        self.kernel: Kernel = LinuxKernel()
        self.known: dict[str, Device] = {}
        self.groups: dict[str, GroupName] = {}
        self.raw: Raw = LinuxRaw()
        self._helpers = Helpers(Path("/sys"))
        self._fences: dict[str, PendingWrites] = {}

    def arrange(self, device: str, driver: str | None, resets: str | None) -> None:
        # Nothing is open between two sequences, so it may be written here.
        place = f"{_DEVICES}/{device}"
        self._choose_resets(f"{place}/reset_method", device, resets)
        _write(f"{place}/driver_override", f"{driver or 'nothing'}\n")
        former = self._driver(device)
        if former == driver:
            return
        if former is not None:
            _write(f"{place}/driver/unbind", device)
        if driver is not None:
            _write(f"{_PCI}/drivers_probe", device)

    def see(self, device: str) -> Seen:
        place = f"{_DEVICES}/{device}"
        override = parse_override(_read(f"{place}/driver_override"))
        registered = names_in(f"{place}/vfio-dev")
        return Seen(self._driver(device), override, registered[0] if registered else None)

    def override(self, device: str, driver: str | None) -> None:
        self._write(f"bus/pci/devices/{device}/driver_override", f"{driver or ''}\n")

    def release(self, device: str) -> None:
        driver = self._driver(device)
        assert driver is None or not is_vfio_driver(driver), "that is a fence"
        self._write(f"bus/pci/drivers/{driver}/unbind", device)

    def probe(self, device: str) -> None:
        self._write("bus/pci/drivers_probe", device)

    def begin_fence(self, device: str) -> None:
        driver = self._driver(device)
        if driver is not None and is_vfio_driver(driver):
            write = Write(f"bus/pci/drivers/{driver}/unbind", device)
            self._fences[device] = self._helpers.start([write])

    def waiting(self) -> frozenset[str]:
        if not self._fences:
            return frozenset()
        return frozenset(device for device in list(self._fences) if not self._ended(device))

    def close(self) -> None:
        self._helpers.close()
        self.kernel.close()

    def _ended(self, device: str) -> bool:
        """Whether a fence has; it has not if its process sleeps where it waits for files, which
        it does not any more when the last one was closed."""
        fence = self._fences[device]
        poll = select.poll()
        poll.register(fence.fileno(), select.POLLIN)
        deadline = monotonic() + _PATIENCE_SECONDS
        while not poll.poll(1):
            if Path(f"/proc/{fence.pid}/wchan").read_text() == _WAITS_FOR_FILES:
                return False
            assert monotonic() < deadline, f"the unbind of {device} neither ends nor waits"
        numbers = self._fences.pop(device).finish()
        assert numbers == [0], f"the unbind of {device} ended with {numbers}"
        return True

    def _choose_resets(self, attribute: str, device: str, resets: str | None) -> None:
        """Written only if it reads otherwise: a write asks the device about each method."""
        try:
            now = _read(attribute).strip()
        except FileNotFoundError:
            return
        wanted = self._resets.get(device) if resets is None else resets
        if now != wanted:
            _write(attribute, "default\n" if resets is None else f"{resets}\n")

    def _driver(self, device: str) -> str | None:
        try:
            link = os.readlink(f"{_DEVICES}/{device}/driver")  # noqa: PTH115
        except FileNotFoundError:
            return None
        return link.rpartition("/")[2]

    def _write(self, path: str, text: str) -> None:
        number = self._helpers.write([Write(path, text)], _PATIENCE_SECONDS)[0]
        if number:
            raise OSError(number, os.strerror(number))
