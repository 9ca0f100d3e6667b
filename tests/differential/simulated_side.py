"""A sequence's host in a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isod.kernel.port import Kernel
from isod.kernel.simulated import calls, outside
from isod.kernel.simulated.build import build
from isod.kernel.simulated.host import Host
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.kernel.simulated.topology import SimulatedHost
from isod.kernel.simulated.tree import names_in
from isod.model.address import Address
from isod.model.host import Device
from isod.model.step import GroupName

from .side import IOVA, PAGE, GroupState, HotReset, Raw, Seen


class SimulatedRaw:
    """Implements Raw."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open_container(self) -> int:
        return calls.open_container(self._directory)

    def open_iommufd(self) -> int:
        return calls.open_iommufd(self._directory)

    def open_group(self, number: int) -> int:
        return calls.open_group(self._directory, number)

    def open_cdev(self, name: str) -> int:
        return calls.open_cdev(self._directory, name)

    def set_container(self, group: int, container: int) -> None:
        calls.set_container(group, container)

    def unset_container(self, group: int) -> None:
        calls.unset_container(group)

    def set_iommu(self, container: int) -> None:
        calls.set_iommu(container)

    def status(self, group: int) -> GroupState:
        found = calls.get_status(group)
        return found.viable, found.container_set

    def get_device(self, group: int, device: str) -> int:
        return calls.get_device_fd(group, device)

    def bind(self, device: int, iommufd: int) -> None:
        calls.bind_iommufd(device, iommufd)

    def allocate_space(self, iommufd: int) -> int:
        return calls.ioas_alloc(iommufd)

    def attach(self, device: int, space: int) -> None:
        calls.attach(device, space)

    def detach(self, device: int) -> None:
        calls.detach(device)

    def read_config(self, device: int) -> str:
        return calls.config_read(device, 0, 4).hex()

    def reset(self, device: int) -> None:
        calls.device_reset(device)

    def hot_reset_info(self, device: int) -> HotReset:
        found = calls.hot_reset_info(device)
        if not found.by_devid:
            return HotReset(tuple((one.device, str(one.group)) for one in found.dependents), None)
        words = {calls.OWNED: "owned", calls.NOT_OWNED: "not owned"}
        said = tuple(
            (one.device, "bound" if one.devid is None else words.get(one.devid, "bound"))
            for one in found.dependents
        )
        return HotReset(said, found.owned)

    def hot_reset(self, device: int, groups: Sequence[int]) -> None:
        calls.hot_reset(device, groups)

    def map(self, container: int) -> None:
        calls.map_dma(container, IOVA, PAGE)

    def unmap(self, container: int) -> int:
        return calls.unmap_dma(container, IOVA, PAGE)


class SimulatedSide:
    """Implements Side. ``directory`` is made and is this one's own."""

    name = "simulated"

    def __init__(self, directory: Path, host: SimulatedHost) -> None:
        build(directory, host)
        self._directory = directory
        self._host = Host(directory)
        self._resets = {place.name: " ".join(place.resets or ()) for place in host.places}
        self._fences: set[str] = set()
        self.kernel: Kernel = SimulatedKernel(directory)
        self.known: dict[str, Device] = {}
        self.groups: dict[str, GroupName] = {}
        self.raw: Raw = SimulatedRaw(directory)

    def arrange(self, device: str, driver: str | None, resets: str | None) -> None:
        wanted = self._resets[device] if resets is None else resets
        if (self._host.tree.devices / device / "reset_method").exists():
            outside.write(self._directory, device, "reset_method", wanted)
        outside.write(self._directory, device, "driver_override", driver or "nothing")
        former = self._host.tree.driver(device)
        if former == driver:
            return
        if former is not None:
            outside.unbind_driver(self._directory, device)
        if driver is not None:
            outside.probe_drivers(self._directory, device)

    def see(self, device: str) -> Seen:
        tree = self._host.tree
        registered = tree.devices / device / "vfio-dev"
        cdev = next(iter(names_in(registered)), None) if registered.is_dir() else None
        return Seen(tree.driver(device), tree.override(device), cdev)

    def override(self, device: str, driver: str | None) -> None:
        outside.write(self._directory, device, "driver_override", driver or "\n")

    def release(self, device: str) -> None:
        outside.unbind_driver(self._directory, device)

    def probe(self, device: str) -> None:
        outside.probe_drivers(self._directory, device)

    def begin_fence(self, device: str) -> None:
        # What ``start`` does, without the process that waits: whoever looks next, finishes it.
        if self._host.on_vfio(device) and not outside.unbind_driver(self._directory, device):
            self._fences.add(device)

    def waiting(self) -> frozenset[str]:
        for device in list(self._fences):
            self.kernel.look(Address.pci(device))
            if not self._host.pending(device):
                self._fences.discard(device)
        return frozenset(self._fences)

    def close(self) -> None:
        self.kernel.close()
