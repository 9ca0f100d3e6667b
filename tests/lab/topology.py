"""The virtual hardware that tests run on, as data.

A new topology is one more entry in the table below. Group numbers differ between kernels and
QEMU versions, so tests find their devices by shape (`hardware.py`), never by number.
"""

import shlex
from dataclasses import dataclass

from tests.lab.kernels import KERNELS


@dataclass(frozen=True)
class Topology:
    """A machine: why it exists, what is plugged in, and which kernels can use it."""

    name: str
    reason: str
    devices: str
    iommu: str = "intel-iommu,intremap=on,caching-mode=on"
    command_line: tuple[str, ...] = ("intel_iommu=on",)
    kernels: tuple[str, ...] = KERNELS

    def arguments(self) -> list[str]:
        """QEMU's arguments. The IOMMU comes first: devices after it are behind it."""
        machine = ["-machine", "q35,kernel-irqchip=split", "-device", self.iommu]
        return [*machine, *shlex.split(self.devices)]


_TWO_FUNCTIONS = """
    -device pcie-root-port,id=rp1,chassis=1,slot=1
    -device e1000e,bus=rp1,addr=0.0,multifunction=on
    -device e1000e,bus=rp1,addr=0.1
"""

# What is written to the disk stays until the guest ends, in a temporary file of QEMU's.
_NVME = """
    -device pcie-root-port,id=rp2,chassis=2,slot=2
    -device nvme,bus=rp2,serial=n1,drive=n1
    -drive if=none,id=n1,file=null-co://,format=raw,snapshot=on
"""

_BRIDGE_WITH_TWO_NICS = """
    -device pcie-root-port,id=rp3,chassis=3,slot=3
    -device pcie-pci-bridge,id=pb1,bus=rp3
    -device e1000,bus=pb1,addr=1
    -device e1000,bus=pb1,addr=2
"""

_SWITCH = """
    -device pcie-root-port,id=rp4,chassis=4,slot=4
    -device x3130-upstream,id=up1,bus=rp4
    -device xio3130-downstream,id=dn1,bus=up1,chassis=5,slot=0
    -device xio3130-downstream,id=dn2,bus=up1,chassis=6,slot=1
    -device e1000e,bus=dn1
    -device e1000e,bus=dn2
"""

_WITHOUT_GROUP = """
    -device pxb-pcie,id=pxb,bus_nr=0x40,bus=pcie.0,bypass_iommu=on
    -device pcie-root-port,id=rp9,bus=pxb,chassis=9,slot=9
    -device e1000e,bus=rp9
"""

_SHARED_BUS = """
    -device pcie-root-port,id=rp5,bus=pcie.0,chassis=15,slot=5
    -device igb,bus=rp5,addr=0.0,multifunction=on,x-pcie-ari-nextfn-1=on
    -device igb,bus=rp5,addr=0.1,x-pcie-ari-nextfn-1=on
"""

_VIRTUAL_FUNCTIONS = """
    -device pcie-root-port,id=rp6,chassis=16,slot=6
    -device igb,bus=rp6
    -device pcie-root-port,id=rp7,chassis=17,slot=7
    -device nvme-subsys,id=ss
    -device nvme,bus=rp7,serial=n2,subsys=ss,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2
"""

TOPOLOGIES = {
    topology.name: topology
    for topology in (
        Topology(
            name="standard",
            reason="one of each: two functions in a group, a singleton NVMe, a PCI bridge whose "
            "NICs have only a hot reset, a switch, a device without a group",
            devices=_TWO_FUNCTIONS + _NVME + _BRIDGE_WITH_TWO_NICS + _SWITCH + _WITHOUT_GROUP,
        ),
        Topology(
            name="shared-bus",
            reason="two groups on one bus: a reset set that spans groups",
            devices=_SHARED_BUS + _NVME,
        ),
        Topology(
            name="no-isolated-msi",
            reason="a platform without isolated MSI, where type1 and iommufd refuse a group",
            devices=_TWO_FUNCTIONS + _NVME,
            iommu="intel-iommu,intremap=off,caching-mode=on",
        ),
        Topology(
            name="sriov",
            reason="physical functions whose virtual functions come and go: a NIC and an NVMe",
            devices=_VIRTUAL_FUNCTIONS,
        ),
    )
}
