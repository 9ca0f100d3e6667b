"""The simulated host as a host under test: the shapes of the standard topology, in a directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isod.kernel.simulated import calls, outside
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import STANDARD
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.model.address import Address
from isod.model.host import Device

from .host_under_test import Ability, Role

_ROLES: dict[Role, str] = {
    "single": "0000:02:00.0",
    "pair": "0000:01:00.0",
    "behind_bridge": "0000:04:01.0",
    "bare": "0000:41:00.0",
}
_LACKS: dict[Ability, str] = {"dma": "fds of a simulated host take no real ioctls"}


class SimulatedHostUnderTest:
    """Implements HostUnderTest. ``directory`` is the case's own."""

    name = "simulated"

    def __init__(self, directory: Path) -> None:
        build(directory, STANDARD)
        self.root = directory
        self.kernel = SimulatedKernel(directory)
        self._kernels = [self.kernel]
        self._opened: list[int] = []

    def new_kernel(self) -> SimulatedKernel:
        kernel = SimulatedKernel(self.root)
        self._kernels.append(kernel)
        return kernel

    def lacks(self, ability: Ability) -> str | None:
        return _LACKS.get(ability)

    def device(self, role: Role) -> Device:
        found = self.kernel.look(Address.pci(_ROLES[role]))
        if found is None:
            pytest.skip(f"no device {role}")
        return found

    def open_group(self, number: int) -> int:
        return self._keep(calls.open_group(self.root, number))

    def open_cdev(self, name: str) -> int:
        return self._keep(calls.open_cdev(self.root, name))

    def bind_cdev(self, cdev: int) -> int:
        iommufd = self._keep(calls.open_iommufd(self.root))
        calls.bind_iommufd(cdev, iommufd)
        return iommufd

    def unplug(self, address: Address) -> None:
        outside.unplug(self.root, address.name)

    def replug(self, address: Address) -> None:
        outside.replug(self.root, address.name)

    def write(self, address: Address, attribute: str, text: str) -> None:
        outside.write(self.root, address.name, attribute, text)

    def unbind(self, address: Address) -> None:
        outside.unbind_driver(self.root, address.name)

    def acl(self, node: str) -> dict[int, str]:
        return outside.acl(self.root, node)

    def close(self) -> None:
        for kernel in self._kernels:
            kernel.close()
        for descriptor in self._opened:
            # The case may have closed it; the number is another's then, if anybody's.
            if _is_of(self.root, descriptor):
                os.close(descriptor)

    def _keep(self, descriptor: int) -> int:
        self._opened.append(descriptor)
        return descriptor


def _is_of(root: Path, descriptor: int) -> bool:
    try:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
    except FileNotFoundError:
        return False
    return target.is_relative_to(root)
