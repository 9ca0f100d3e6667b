"""The arguments that QEMU takes for devices it gets from isod.

``fd=`` needs ``iommufd=`` and an unbound cdev, which is what isod hands over; legacy groups QEMU
opens by path only, so there the device is named by ``host=`` (QEMU docs/devel/vfio-iommufd.rst).
An ``id=`` is always given: a device passed by fd would be called VFIO_FD and a number otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from isod.model.address import Address
from isod.model.step import HandOver

from .handed import HandedFiles

IOMMUFD_ID = "isod0"


class QemuError(ValueError):
    """QEMU cannot take these devices in this way; the text says why and what can be done."""


def qemu_hand_over(
    devices: Sequence[Address | None], wish: HandOver | None, offered: Collection[HandOver]
) -> HandOver:
    """Choose the hand-over: the wish, else iommufd where isod offers it, else nodes. None stands
    for a device that is still to be chosen out of a pool."""
    known = [address for address in devices if address is not None]
    for address in known:
        if address.bus not in {"pci", "mdev"}:
            raise QemuError(f"{address}: --qemu knows PCI devices and mdevs only")
    mediated = [address for address in known if address.bus == "mdev"]
    if wish == "group":
        raise QemuError("QEMU takes no group fds; use --hand-over iommufd or nodes")
    if wish == "iommufd" and mediated:
        raise QemuError(
            f"{mediated[0]}: QEMU takes an mdev handed over by fd for a physical device; "
            "use --hand-over nodes"
        )
    if wish is not None:
        return wish
    return "nodes" if mediated or "iommufd" not in offered else "iommufd"


def qemu_arguments(
    devices: Sequence[Address], hand_over: HandOver, files: HandedFiles, options: Sequence[str]
) -> list[str]:
    """QEMU's own arguments for the devices, in the order in which they were requested.

    ``options`` (such as ``rombar=0``) are added to every device.
    """
    return list(_arguments(devices, hand_over, files, options))


def _arguments(
    devices: Sequence[Address], hand_over: HandOver, files: HandedFiles, options: Sequence[str]
) -> Iterator[str]:
    if hand_over == "iommufd":
        if files.iommufd is None:
            raise QemuError("the lease came without an iommufd")
        yield "-object"
        yield f"iommufd,id={IOMMUFD_ID},fd={files.iommufd}"
    for address in devices:
        yield "-device"
        source = _by_fd(address, files) if hand_over == "iommufd" else _by_path(address)
        yield ",".join(("vfio-pci", f"id={device_id(address)}", source, *options))


def device_id(address: Address) -> str:
    """QEMU's name for a device: letters, digits, ``-``, ``.`` and ``_``, a letter first."""
    return f"isod-{address.name.replace(':', '-')}"


def _by_fd(address: Address, files: HandedFiles) -> str:
    number = files.devices.get(address)
    if number is None:
        raise QemuError(f"the lease came without a file for {address}")
    return f"fd={number},iommufd={IOMMUFD_ID}"


def _by_path(address: Address) -> str:
    if address.bus == "mdev":
        return f"sysfsdev=/sys/bus/mdev/devices/{address.name}"
    return f"host={address.name}"
