"""Finds the devices of a topology by what they are and where they sit, not by their numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_ETHERNET = "0200"
_NVME = "0108"

_PCI_BRIDGE = "1b36:000e"
_SWITCH_UPSTREAM = "104c:8232"
_SWITCH_DOWNSTREAM = "104c:8233"
_IGB = "8086:10c9"


@dataclass(frozen=True)
class Function:
    """A PCI function as sysfs shows it."""

    address: str
    identity: str
    kind: str
    group: str | None
    driver: str | None
    parent: str | None
    is_virtual: bool
    virtual_functions: int
    path: Path

    @property
    def slot(self) -> str:
        return self.address.rpartition(".")[0]


def _link_name(path: Path) -> str | None:
    try:
        return path.readlink().name
    except FileNotFoundError:
        return None


def _read(path: Path) -> str:
    return path.read_text().strip()


def read_function(path: Path) -> Function:
    place = path.resolve()
    above = place.parent.name
    total = path / "sriov_totalvfs"
    return Function(
        address=path.name,
        identity=f"{_read(path / 'vendor')[2:]}:{_read(path / 'device')[2:]}",
        kind=_read(path / "class")[2:6],
        group=_link_name(path / "iommu_group"),
        driver=_link_name(path / "driver"),
        parent=above if above.count(":") == 2 else None,
        is_virtual=(path / "physfn").is_symlink(),
        virtual_functions=int(_read(total)) if total.exists() else 0,
        path=path,
    )


class Hardware:
    """The devices of this machine's topology. Every look is a new one: groups and drivers move."""

    def __init__(self, sysfs: Path = Path("/sys")) -> None:
        self._directory = sysfs / "bus/pci/devices"

    def functions(self) -> list[Function]:
        return [read_function(path) for path in sorted(self._directory.iterdir())]

    def function(self, address: str) -> Function:
        return read_function(self._directory / address)

    def group_members(self, address: str) -> list[str]:
        """The addresses that share the function's group, itself among them."""
        group = self.function(address).group
        assert group is not None, f"{address} has no IOMMU group"
        return [function.address for function in self.functions() if function.group == group]

    @property
    def nvme(self) -> str:
        """The NVMe that is alone in its group."""
        return self._only(f for f in self.functions() if f.kind == _NVME and not f.is_virtual)

    @property
    def two_functions(self) -> tuple[str, str]:
        """The two functions of one NIC: one group in `standard`, two in `shared-bus`."""
        nics = [
            f for f in self.functions() if f.kind == _ETHERNET and f.parent and not f.is_virtual
        ]
        pairs = [
            (one.address, other.address)
            for one in nics
            for other in nics
            if one.address < other.address and one.slot == other.slot
        ]
        assert len(pairs) == 1, f"expected one NIC with two functions, found {pairs}"
        return pairs[0]

    @property
    def bridge(self) -> str:
        """The PCI bridge that makes one group of itself and what is behind it."""
        return self._only(f for f in self.functions() if f.identity == _PCI_BRIDGE)

    @property
    def bridge_nics(self) -> tuple[str, str]:
        """The two NICs behind the PCI bridge."""
        bridge = self.bridge
        first, second = (f.address for f in self.functions() if f.parent == bridge)
        return first, second

    @property
    def switch_ports(self) -> tuple[str, str]:
        """The downstream ports of the switch."""
        found = [f.address for f in self.functions() if f.identity == _SWITCH_DOWNSTREAM]
        first, second = found
        return first, second

    @property
    def switch_nics(self) -> tuple[str, str]:
        """The NICs below the switch, in the order of their ports."""
        ports = self.switch_ports
        first, second = (f.address for f in self.functions() if f.parent in ports)
        return first, second

    @property
    def groupless(self) -> str:
        """The NIC that bypasses the IOMMU and has no group."""
        return self._only(f for f in self.functions() if f.kind == _ETHERNET and f.group is None)

    @property
    def sriov_nic(self) -> str:
        """The physical function of the NIC in `sriov`."""
        return self._only(
            f for f in self.functions() if f.kind == _ETHERNET and f.virtual_functions
        )

    @property
    def sriov_nvme(self) -> str:
        """The physical function of the NVMe in `sriov`."""
        return self._only(f for f in self.functions() if f.kind == _NVME and f.virtual_functions)

    @staticmethod
    def _only(found: Iterable[Function]) -> str:
        addresses = [function.address for function in found]
        assert len(addresses) == 1, f"expected one such device, found {addresses}"
        return addresses[0]
