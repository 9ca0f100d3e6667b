"""Hosts that the example policies are made for. Each has something that the host itself needs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .hosts import E1000E, GPU, GPU_AUDIO, NVME, ROOT_PORT
from .machine import Machine
from .topology import Model, Place, SimulatedHost

IXGBE = Model("8086", "10fb", "020000", "ixgbe", ("flr", "bus"))
IXGBE_VF = Model("8086", "10ed", "020000", "ixgbevf", ("flr",))
BMC_DISPLAY = Model("1a03", "2000", "030000", "ast", ("bus",))

FORWARDER = SimulatedHost(
    about="Packets go through it: two fast network cards in slots 3 and 4, and one on the board "
    "that carries the default route.",
    places=(
        Place("00:01.0", ROOT_PORT, group=1, below="01"),
        Place("00:02.0", ROOT_PORT, group=2, below="02"),
        Place("00:03.0", ROOT_PORT, group=3, below="03"),
        Place("00:04.0", ROOT_PORT, group=4, below="04"),
        Place("01:00.0", E1000E, group=10),
        Place("02:00.0", NVME, group=11, serial="n1"),
        Place("03:00.0", IXGBE, group=12, numa=0),
        Place("04:00.0", IXGBE, group=13, numa=1),
    ),
    slots={"3": "03:00", "4": "04:00"},
    needs={
        "01:00.0": (("default route", "carries the default route (eth0)"),),
        "02:00.0": (("mounted disk", "holds a mounted file system (/)"),),
    },
    machine=Machine(slot_resets=("0000:03", "0000:04")),
)

GPU_SERVER = SimulatedHost(
    about="Four graphics cards, two on each NUMA node, each with an audio function in a group of "
    "its own; the host shows its boot messages on a fifth display.",
    places=(
        *(
            place
            for card in range(1, 5)
            for place in (
                Place(f"00:0{card}.0", ROOT_PORT, group=card, below=f"0{card}"),
                Place(f"0{card}:00.0", GPU, group=8 + 2 * card, numa=(card - 1) // 2),
                Place(f"0{card}:00.1", GPU_AUDIO, group=9 + 2 * card, numa=(card - 1) // 2),
            )
        ),
        Place("00:05.0", ROOT_PORT, group=5, below="05"),
        Place("05:00.0", BMC_DISPLAY, group=20, boot_vga=True),
    ),
    slots={str(card): f"0{card}:00" for card in range(1, 5)},
    machine=Machine(slot_resets=("0000:01", "0000:02", "0000:03", "0000:04")),
)

CONTAINER_HOST = SimulatedHost(
    about="A network card with four virtual functions for containers; the card itself carries the "
    "default route.",
    places=(
        Place("00:01.0", ROOT_PORT, group=1, below="01"),
        Place("01:00.0", IXGBE, group=2),
        *(
            Place(f"01:10.{2 * index}", IXGBE_VF, group=3 + index, physical="01:00.0")
            for index in range(4)
        ),
    ),
    slots={"1": "01:00"},
    needs={"01:00.0": (("default route", "carries the default route (eth0)"),)},
    machine=Machine(slot_resets=("0000:01",)),
)

SERVERS: Mapping[str, SimulatedHost] = MappingProxyType(
    {
        "forwarder": FORWARDER,
        "gpu-server": GPU_SERVER,
        "container-host": CONTAINER_HOST,
    }
)
