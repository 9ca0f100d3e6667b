"""The machine under the daemon: a simulated host in a folder, or the guest that we run in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

from isod.kernel.simulated.build import build
from isod.kernel.simulated.topology import SimulatedHost
from tests.lab.hardware import Hardware

Shape = Literal["single", "pair", "sibling", "behind_bridge", "below_switch"]
Kind = Literal["simulated", "linux"]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a device is bound to, and its ``driver_override`` (None: unset)."""

    driver: str | None
    override: str | None


# Where the shapes are on the simulated host STANDARD.
STANDARD_SHAPES: Mapping[Shape, str] = MappingProxyType(
    {
        "single": "0000:02:00.0",
        "pair": "0000:01:00.0",
        "sibling": "0000:01:00.1",
        "behind_bridge": "0000:04:01.0",
        "below_switch": "0000:07:00.0",
    }
)

Picture = Mapping[str, Binding]


class Machine(Protocol):
    """What walks need to know of a machine. ``root`` has ``sys`` and ``dev`` below it."""

    kind: Kind
    root: Path

    def serve_arguments(self) -> list[str]:
        """What ``isod serve`` needs to serve this machine."""
        ...

    def device(self, shape: Shape) -> str:
        """A device by its place: alone in its group, one of two functions, its sibling, one of two
        NICs behind a PCI bridge, or one below a switch."""
        ...


def picture(machine: Machine) -> Picture:
    """Every PCI device's driver and override: what has to be the same again after a lease."""
    found: dict[str, Binding] = {}
    for place in sorted((machine.root / "sys/bus/pci/devices").iterdir()):
        override = (place / "driver_override").read_text().strip()
        found[place.name] = Binding(
            _driver(place),
            None if override in ("", "(null)") else override,
        )
    return found


def _driver(place: Path) -> str | None:
    """What a device is bound to; the daemon may be about to change it."""
    try:
        return (place / "driver").readlink().name
    except FileNotFoundError:
        return None


class SimulatedMachine:
    """A simulated host; ``shapes`` says where the shapes are in it."""

    kind: Kind = "simulated"

    def __init__(self, root: Path, host: SimulatedHost, shapes: Mapping[Shape, str]) -> None:
        build(root, host)
        self.root = root
        self._shapes = shapes

    def serve_arguments(self) -> list[str]:
        return ["--simulate", str(self.root)]

    def device(self, shape: Shape) -> str:
        return self._shapes[shape]


class LinuxMachine:
    """The guest that the tests run in; its agent has loaded the modules."""

    kind: Kind = "linux"

    def __init__(self) -> None:
        self.root = Path("/")
        self._hardware = Hardware()

    def serve_arguments(self) -> list[str]:
        return []

    def device(self, shape: Shape) -> str:
        match shape:
            case "single":
                return self._hardware.nvme
            case "pair":
                return self._hardware.two_functions[0]
            case "sibling":
                return self._hardware.two_functions[1]
            case "behind_bridge":
                return self._hardware.bridge_nics[0]
            case "below_switch":
                return self._hardware.switch_nics[0]
