"""A real host as a host under test: the guest of the lab that the case runs in."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from isod.kernel.linux import LinuxKernel
from isod.kernel.linux.acl import READ_WRITE
from isod.kernel.linux.control import control, retried
from isod.kernel.linux.nodes import node_users
from isod.kernel.linux.uapi.vfio import VFIO_DEVICE_BIND_IOMMUFD, vfio_device_bind_iommufd
from isod.kernel.linux.variants import is_vfio_driver
from isod.kernel.port import Kernel
from isod.model.address import Address
from isod.model.host import Device, HostSnapshot

from .host_under_test import Ability, Role

_PCI = Path("/sys/bus/pci")
_WRITE_SECONDS = 60.0


def write_sysfs(path: Path, text: str) -> None:
    """Write an attribute in a process of its own: it may wait for files that we hold. Raises
    subprocess.CalledProcessError and TimeoutExpired."""
    command = ["sh", "-c", 'printf "%s" "$2" > "$1"', "sh", str(path), text]
    subprocess.run(command, check=True, timeout=_WRITE_SECONDS, stderr=subprocess.DEVNULL)


class Guest:
    """What all cases in a guest share: how it was at the start, and a kernel with its helpers.

    Processes start slowly in an emulated guest, so that one per case would be most of the time.
    """

    def __init__(self) -> None:
        self.kernel = LinuxKernel()
        self.start = self.kernel.snapshot(0)

    def close(self) -> None:
        self.kernel.close()


class LinuxHostUnderTest:
    """Implements HostUnderTest."""

    def __init__(self, guest: Guest) -> None:
        self.root = Path("/")
        self.name = f"linux {os.uname().release}"
        self.kernel: Kernel = guest.kernel
        self._start = guest.start
        self._kernels: list[LinuxKernel] = []
        self._opened: dict[int, str] = {}

    def new_kernel(self) -> LinuxKernel:
        kernel = LinuxKernel()
        self._kernels.append(kernel)
        return kernel

    def lacks(self, ability: Ability) -> str | None:
        features = self._start.features
        if ability == "iommufd" and not (features.iommufd and features.cdev):
            return f"the stock kernel {features.kernel} has neither IOMMUFD nor device cdevs"
        if ability == "container" and not features.container:
            return f"the kernel {features.kernel} has no container of its own"
        if ability == "shpchp" and "shpchp" not in _drivers_of_bridges(self._start):
            return "no bridge is on shpchp here"
        return None

    def device(self, role: Role) -> Device:
        address = _find(self._start, role)
        if address is None:
            pytest.skip(f"no device {role} in this topology")
        found = self.kernel.look(address)
        assert found is not None
        return found

    def open_group(self, number: int) -> int:
        return self._open(f"/dev/vfio/{number}")

    def open_cdev(self, name: str) -> int:
        return self._open(f"/dev/vfio/devices/{name}")

    def bind_cdev(self, cdev: int) -> int:
        iommufd = self._open("/dev/iommu")
        argument = vfio_device_bind_iommufd(argsz=16, iommufd=iommufd)
        try:
            retried(lambda: control(cdev, VFIO_DEVICE_BIND_IOMMUFD, argument))
        except OSError:
            os.close(iommufd)
            raise
        return iommufd

    def unplug(self, address: Address) -> None:
        write_sysfs(_PCI / "devices" / address.name / "remove", "1")

    def replug(self, address: Address) -> None:
        write_sysfs(_PCI / "rescan", "1")
        assert (_PCI / "devices" / address.name).exists()

    def write(self, address: Address, attribute: str, text: str) -> None:
        write_sysfs(_PCI / "devices" / address.name / attribute, text)

    def unbind(self, address: Address) -> None:
        write_sysfs(_PCI / "devices" / address.name / "driver/unbind", address.name)

    def acl(self, node: str) -> dict[int, str]:
        users = node_users(self.root, node)
        return {uid: "rw" if bits == READ_WRITE else oct(bits) for uid, bits in users.items()}

    def close(self) -> None:
        for descriptor, target in self._opened.items():
            # The case may have closed it, and the number may be another's by now.
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{descriptor}") == target:  # noqa: PTH115
                    os.close(descriptor)
        self._put_back()
        for kernel in self._kernels:
            kernel.close()

    def _open(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._opened[descriptor] = path
        return descriptor

    def _put_back(self) -> None:
        """Every device back to its first driver, those of vfio let go first."""
        now = self.kernel.snapshot(0)
        if any(address not in now.devices for address in self._start.devices):
            write_sysfs(_PCI / "rescan", "1")
            now = self.kernel.snapshot(0)
        changed = [
            (former, now.devices[address])
            for address, former in self._start.devices.items()
            if _binding(former) != _binding(now.devices[address])
        ]
        for former, device in changed:
            text = former.driver_override or "\n"
            write_sysfs(_PCI / "devices" / device.address.name / "driver_override", text)
            if device.driver is not None and is_vfio_driver(device.driver):
                self.unbind(device.address)
        for former, _ in changed:
            if former.driver is not None:
                write_sysfs(_PCI / "drivers_probe", former.address.name)


def _find(host: HostSnapshot, role: Role) -> Address | None:
    for device in host.devices.values():
        group = host.group_of(device.address)
        members = () if group is None else group.members
        bridges = [name for name in members if host.devices[name].is_bridge]
        is_network = device.device_class.startswith("0200")
        fits = {
            "single": device.device_class.startswith("0108") and len(members) == 1,
            "pair": is_network and len(members) == 2 and not bridges,
            "behind_bridge": is_network and len(members) == 3 and len(bridges) == 1,
            "bare": is_network and group is None,
        }
        if fits[role]:
            return device.address
    return None


def _binding(device: Device) -> tuple[str | None, str | None]:
    return (device.driver, device.driver_override)


def _drivers_of_bridges(host: HostSnapshot) -> set[str | None]:
    return {device.driver for device in host.devices.values() if device.is_bridge}
