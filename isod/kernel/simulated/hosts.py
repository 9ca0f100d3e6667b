"""Named hosts, each with a reason to exist. Group numbers are as good as any, as on real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from .machine import Machine
from .topology import Model, Place, SimulatedHost

# Source validation, request and completion redirect, upstream forwarding: what QEMU's root ports
# have, and the kernel turns on where there is an IOMMU.
_ACS = (0x1D, 0x1D)

HOST_BRIDGE = Model("8086", "29c0", "060000", None, express=None)
ROOT_PORT = Model(
    "1b36", "000c", "060400", "pcieport", bridge=True, kind="port", express=4, acs=_ACS
)
SWITCH_UP = Model(
    "104c", "8232", "060400", "pcieport", ("pm",), bridge=True, kind="port", express=5
)
SWITCH_DOWN = Model("104c", "8233", "060400", "pcieport", bridge=True, kind="port", express=6)
PCI_BRIDGE = Model("1b36", "000e", "060400", "shpchp", bridge=True, express=7)
QUIET_BRIDGE = Model("8086", "244e", "060400", None, bridge=True, express=None)
NVME = Model("1b36", "0010", "010802", "nvme", ("flr", "bus"))
E1000E = Model("8086", "10d3", "020000", "e1000e", ("pm", "bus"))
E1000 = Model("8086", "100e", "020000", "e1000", ("bus",), express=None)
IGB = Model("8086", "10c9", "020000", "igb", ("flr", "bus"))
GPU = Model("10de", "2204", "030000", "nouveau", ("pm", "bus"), subsystem=("10de", "1467"))
GPU_AUDIO = Model("10de", "1aef", "040300", "snd_hda_intel", ("pm",), subsystem=("10de", "1467"))

DEMO = SimulatedHost(
    about="A small machine with one of each: an NVMe disk alone in its group, a network card of "
    "two functions, two old NICs behind a PCI bridge, a graphics card with its audio function, "
    "and a NIC that no IOMMU covers.",
    places=(
        Place("00:00.0", HOST_BRIDGE, group=0),
        Place("00:02.0", ROOT_PORT, group=1, below="01"),
        Place("00:03.0", ROOT_PORT, group=2, below="02"),
        Place("00:04.0", ROOT_PORT, group=3, below="03"),
        Place("00:05.0", ROOT_PORT, group=4, below="05"),
        Place("01:00.0", E1000E, group=12, numa=0),
        Place("01:00.1", E1000E, group=12, numa=0, resets=("pm",)),
        Place("02:00.0", NVME, group=13, numa=0, serial="S4EV1"),
        Place("03:00.0", QUIET_BRIDGE, group=14, below="04"),
        Place("04:01.0", E1000, group=14, numa=0),
        Place("04:02.0", E1000, group=14, numa=0),
        Place("05:00.0", GPU, group=15, numa=0),
        Place("05:00.1", GPU_AUDIO, group=15, numa=0),
        Place("40:00.0", ROOT_PORT, below="41"),
        Place("41:00.0", E1000E),
    ),
    slots={"1": "01:00", "2": "02:00", "3": "03:00", "5": "05:00", "9": "41:00"},
    machine=Machine(slot_resets=("0000:01", "0000:02", "0000:05")),
)

STANDARD = SimulatedHost(
    about="The shapes of the lab's standard topology, with what its emulated hardware does: hot "
    "resets below the first two root ports fail after having reset, and shpchp holds the bridge.",
    places=(
        Place("00:00.0", HOST_BRIDGE, group=0),
        Place("00:01.0", ROOT_PORT, group=1, below="01"),
        Place("00:02.0", ROOT_PORT, group=2, below="02"),
        Place("00:03.0", ROOT_PORT, group=3, below="03"),
        Place("00:04.0", ROOT_PORT, group=4, below="05"),
        Place("01:00.0", E1000E, group=5),
        Place("01:00.1", E1000E, group=5, resets=("pm",)),
        Place("02:00.0", NVME, group=6, serial="n1"),
        Place("03:00.0", PCI_BRIDGE, group=7, below="04"),
        Place("04:01.0", E1000, group=7),
        Place("04:02.0", E1000, group=7),
        Place("05:00.0", SWITCH_UP, group=8, below="06"),
        Place("06:00.0", SWITCH_DOWN, group=9, below="07"),
        Place("06:01.0", SWITCH_DOWN, group=10, below="08"),
        Place("07:00.0", E1000E, group=9),
        Place("08:00.0", E1000E, group=10),
        Place("40:00.0", ROOT_PORT, below="41"),
        Place("41:00.0", E1000E),
    ),
    slots={"1": "01:00", "2": "02:00", "3": "03:00", "4": "05:00", "9": "41:00"},
    machine=Machine(
        slot_resets=("0000:01", "0000:02", "0000:03"),
        failing_resets=("0000:01", "0000:02"),
    ),
)

SHARED_BUS = SimulatedHost(
    about="Two groups on one bus: a hot reset of one function hits the other owner's.",
    places=(
        Place("00:05.0", ROOT_PORT, group=1, below="01"),
        Place("01:00.0", IGB, group=2),
        Place("01:00.1", IGB, group=3, resets=("flr",)),
    ),
    slots={"5": "01:00"},
    machine=Machine(slot_resets=("0000:01",)),
)

FIRMWARE_MAPPING = SimulatedHost(
    about="A NIC for which firmware wants memory mapped 1:1: the kernel refuses to give it out.",
    places=(
        Place("00:02.0", ROOT_PORT, group=1, below="01"),
        Place("01:00.0", IGB, group=2),
    ),
    slots={"1": "01:00"},
    regions={2: ("0x00000000000e8000 0x00000000000e8fff direct",)},
    machine=Machine(slot_resets=("0000:01",)),
)

NO_ISOLATED_MSI = SimulatedHost(
    about="A platform without interrupt remapping: the group looks viable, the claim is refused.",
    places=(
        Place("00:02.0", ROOT_PORT, group=1, below="01"),
        Place("01:00.0", NVME, group=2, serial="n1"),
    ),
    slots={"1": "01:00"},
    machine=Machine(isolated_msi=False, slot_resets=("0000:01",)),
)

SRIOV = SimulatedHost(
    about="A NIC with two virtual functions: one on its bus, one on a bus number of its own.",
    places=(
        Place("00:05.0", ROOT_PORT, group=1, below="01"),
        Place("01:00.0", IGB, group=2),
        Place("01:10.0", IGB, group=3, physical="01:00.0", driver="", resets=("flr",)),
        Place("02:10.0", IGB, group=4, physical="01:00.0", driver="", resets=("flr",)),
    ),
    slots={"5": "01:00"},
    machine=Machine(slot_resets=("0000:01",)),
)

HOSTS: Mapping[str, SimulatedHost] = MappingProxyType(
    {
        "demo": DEMO,
        "standard": STANDARD,
        "shared-bus": SHARED_BUS,
        "firmware-mapping": FIRMWARE_MAPPING,
        "no-isolated-msi": NO_ISOLATED_MSI,
        "sriov": SRIOV,
    }
)


# A function that redirects its requests to its fellows, and so has a group of its own.
_APART = replace(NVME, acs=(0x0C, 0x0C))


def many(count: int) -> SimulatedHost:
    """A host of ``count`` devices, each alone in its group below a root port of its own bus.

    Eight functions sit on a bus, 248 buses to a domain, so that their ports have one too.
    """
    places = []
    for index in range(count):
        domain, within = divmod(index, 8 * 31 * 200)
        bus, function = divmod(within, 8 * 31)
        if function == 0:
            port = f"{domain:04x}:00:{bus // 8:02x}.{bus % 8}"
            places.append(Place(port, ROOT_PORT, below=f"{bus + 1:02x}"))
        at = f"{domain:04x}:{bus + 1:02x}:{function // 8:02x}.{function % 8}"
        places.append(Place(at, _APART, group=index))
    return SimulatedHost(about=f"{count} devices", places=tuple(places))
