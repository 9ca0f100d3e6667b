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

_BRIDGES_BESIDE_DEVICES = """
    -device pcie-root-port,id=rp10,chassis=20,slot=10
    -device pcie-pci-bridge,id=pb2,bus=rp10
    -device e1000,bus=pb2,addr=1
    -device pci-bridge,id=pb3,bus=pb2,chassis_nr=21,addr=2
    -device e1000,bus=pb3,addr=1
    -device pcie-root-port,id=rp11,chassis=22,slot=11
    -device x3130-upstream,id=up2,bus=rp11,addr=0.0,multifunction=on
    -device igb,bus=rp11,addr=0.1
    -device xio3130-downstream,id=dn3,bus=up2,chassis=23,slot=0
    -device e1000e,bus=dn3
"""

# With ACPI's hot-plug, the default, the kernel leaves slots to firmware.
_WITHOUT_ACPI_HOTPLUG = "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"

_TWO_AND_ONE = """
    -device pcie-root-port,id=rp12,chassis=24,slot=12
    -device e1000e,bus=rp12,addr=0.0,multifunction=on
    -device e1000e,bus=rp12,addr=0.1
    -device igb,bus=rp12,addr=0.2
"""

# Two ports in one slot, one alone, and the bridge to PCI of old chipsets, on the root bus itself.
_PORTS_WITHOUT_ACS = """
    -device pcie-root-port,id=rp13,chassis=31,slot=13,addr=0x10.0,multifunction=on,disable-acs=on
    -device pcie-root-port,id=rp14,chassis=32,slot=14,addr=0x10.1,disable-acs=on
    -device e1000e,bus=rp13
    -device e1000e,bus=rp14
    -device pcie-root-port,id=rp15,chassis=33,slot=15,disable-acs=on
    -device x3130-upstream,id=up4,bus=rp15
    -device xio3130-downstream,id=dn4,bus=up4,chassis=34,slot=0
    -device xio3130-downstream,id=dn5,bus=up4,chassis=35,slot=1
    -device e1000e,bus=dn4
    -device e1000e,bus=dn5
    -device i82801b11-bridge,id=pb4,bus=pcie.0
    -device e1000,bus=pb4,addr=1
    -device e1000,bus=pb4,addr=2
"""

# As above, with names of their own: several of each.
_SEVERAL = """
    -device pcie-root-port,id=rp16,bus=pcie.0,chassis=41,slot=16
    -device e1000e,bus=rp16,addr=0.0,multifunction=on
    -device e1000e,bus=rp16,addr=0.1
    -device pcie-root-port,id=rp17,bus=pcie.0,chassis=42,slot=17
    -device nvme,bus=rp17,serial=n3,drive=n3
    -drive if=none,id=n3,file=null-co://,format=raw,snapshot=on
    -device pcie-root-port,id=rp18,bus=pcie.0,chassis=43,slot=18
    -device igb,bus=rp18,addr=0.0,multifunction=on,x-pcie-ari-nextfn-1=on
    -device igb,bus=rp18,addr=0.1,x-pcie-ari-nextfn-1=on
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
            name="several",
            reason="standard and shared-bus, most of it twice: what is played on one bus does not "
            "wait for what is played on another",
            devices=_TWO_FUNCTIONS
            + _NVME
            + _BRIDGE_WITH_TWO_NICS
            + _SWITCH
            + _WITHOUT_GROUP
            + _SHARED_BUS
            + _SEVERAL,
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
        Topology(
            name="reset-sets",
            reason="reset sets that hold bridges: NICs beside a PCI bridge and beside a switch; "
            "and one of a group of two and a group of one",
            devices=_BRIDGES_BESIDE_DEVICES + _TWO_AND_ONE,
        ),
        Topology(
            name="slots",
            reason="ports that run their slots themselves (pciehp), so that hot resets go by slot",
            devices=_SHARED_BUS + _VIRTUAL_FUNCTIONS + _WITHOUT_ACPI_HOTPLUG,
        ),
        Topology(
            name="ports-without-acs",
            reason="groups that grow upwards: root ports without ACS, alone, two in a slot and "
            "above a switch; and a bridge to PCI on the root bus",
            devices=_PORTS_WITHOUT_ACS,
        ),
    )
}
