"""The simulated host of a soak: the standard shapes, and enough NVMes for everybody to quarrel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from isod.kernel.simulated.hosts import NVME, ROOT_PORT, STANDARD
from isod.kernel.simulated.topology import Place
from tests.walk.machine import SimulatedMachine

_NVMES = 32
_FIRST_GROUP = 100


def soak_machine(folder: Path) -> SimulatedMachine:
    """Groups of one and of several members, some with a hot reset only."""
    places = list(STANDARD.places)
    for index in range(_NVMES):
        bus = f"{index + 1:02x}"
        port = f"0001:00:{index // 8:02x}.{index % 8}"
        places.append(Place(port, ROOT_PORT, group=_FIRST_GROUP + 2 * index, below=bus))
        nvme = Place(f"0001:{bus}:00.0", NVME, group=_FIRST_GROUP + 2 * index + 1)
        places.append(replace(nvme, serial=f"s{index}"))
    host = replace(STANDARD, about="a soak", places=tuple(places))
    return SimulatedMachine(folder, host, {"single": "0001:01:00.0"})


def addresses() -> list[str]:
    """What clients ask for; the first are in groups with others."""
    shared = ["0000:01:00.0", "0000:01:00.1", "0000:04:01.0", "0000:04:02.0", "0000:07:00.0"]
    return [*shared, *(f"0001:{index + 1:02x}:00.0" for index in range(_NVMES))]
