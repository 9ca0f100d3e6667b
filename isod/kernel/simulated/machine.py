"""What a simulated machine can do: the facts about it that sysfs does not show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Literal

DriverKind = Literal["kernel", "vfio", "stub", "port"]
"""``kernel`` manages DMA itself and so blocks its group; ``vfio`` gives devices to user space;
``stub`` (pci-stub) and ``port`` (pcieport) hold a device without touching its DMA."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver: which modaliases (shell patterns) it probes without being named."""

    kind: DriverKind = "kernel"
    fits: tuple[str, ...] = ()

    def fits_alias(self, modalias: str) -> bool:
        return any(fnmatchcase(modalias, pattern) for pattern in self.fits)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and its kernel.

    ``cdev``: beside IOMMUFD, devices have nodes of their own. ``drivers`` are probed in their
    order. ``slot_resets`` are buses ("0000:01") or slots ("0000:01:00") that a hot-plug slot can
    reset; ``failing_resets`` are buses whose hot reset ends with ENOTTY after having really reset,
    ``no_bus_reset`` devices that forbid it.
    """

    kernel: str = "7.2.0-simulated"
    iommufd: bool = True
    cdev: bool = True
    container: bool = True
    noiommu: bool = False
    isolated_msi: bool = True
    coherent: bool = True
    drivers: Mapping[str, Driver] = field(default_factory=dict)
    slot_resets: tuple[str, ...] = ()
    failing_resets: tuple[str, ...] = ()
    no_bus_reset: tuple[str, ...] = ()

    def candidates(self, modalias: str, override: str | None) -> tuple[str, ...]:
        """The drivers that would be asked to probe a device, in order."""
        if override is not None:
            return (override,) if override in self.drivers else ()
        return tuple(name for name, driver in self.drivers.items() if driver.fits_alias(modalias))

    def kind(self, driver: str | None) -> DriverKind | None:
        """What kind of driver that is; an unknown one manages DMA, as most do."""
        if driver is None:
            return None
        known = self.drivers.get(driver)
        return "kernel" if known is None else known.kind

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Machine:
        """Read what ``save`` wrote. Raises FileNotFoundError."""
        return parse_machine(path.read_text())


@lru_cache(maxsize=16)
def parse_machine(text: str) -> Machine:
    """What ``save`` wrote. Kept by its text, since every call of a client needs it."""
    content = json.loads(text)
    drivers = {
        name: Driver(kind=fields["kind"], fits=tuple(fields["fits"]))
        for name, fields in content.pop("drivers").items()
    }
    lists = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
    return replace(Machine(**(content | lists)), drivers=drivers)
