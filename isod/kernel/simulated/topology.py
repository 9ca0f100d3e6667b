"""The language in which simulated hosts are written down: models of devices, and their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from isod.model.critical import Kind

from .machine import Driver, DriverKind, Machine

FULL_MSI = "0x00000000fee00000 0x00000000feefffff msi"


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of device. Ids and class are hex without 0x; ``driver`` is the kernel's own.

    ``resets`` are its reset methods as sysfs lists them. ``bridge`` has a bus below it. ``express``
    is the type in its PCI Express capability (0 an endpoint, 4 a root port, 5 and 6 a switch's
    ports, 7 a bridge to PCI); None: a conventional PCI device. ``acs`` are its ACS registers,
    capabilities and control.
    """

    vendor: str
    product: str
    device_class: str
    driver: str | None
    resets: tuple[str, ...] = ()
    bridge: bool = False
    kind: DriverKind = "kernel"
    subsystem: tuple[str, str] = ("1af4", "1100")
    express: int | None = 0
    acs: tuple[int, int] | None = None

    @property
    def modalias(self) -> str:
        classes = [self.device_class[at : at + 2].upper() for at in (0, 2, 4)]
        subsystem = "sv{:0>8}sd{:0>8}".format(*(part.upper() for part in self.subsystem))
        return (
            f"pci:v{self.vendor.upper():0>8}d{self.product.upper():0>8}{subsystem}"
            f"bc{classes[0]}sc{classes[1]}i{classes[2]}"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A device at an address ("01:00.0"; the domain may be left out).

    ``below`` is the bus right below a bridge ("01"). ``group`` is its IOMMU group; None where no
    IOMMU covers it. ``physical`` is the PF of a virtual function, which lies beside it in sysfs.
    ``driver`` is what it is on at first: "" for nothing, None for the driver of its model.
    """

    at: str
    model: Model
    group: int | None = None
    below: str | None = None
    driver: str | None = None
    physical: str | None = None
    numa: int = -1
    boot_vga: bool = False
    serial: str | None = None
    resets: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return full(self.at)


@dataclass(frozen=True, slots=True)
class SimulatedHost:
    """A host as data. ``slots`` are physical slots by name ("01:00", as sysfs shows their
    address); ``regions`` are extra lines of a group's ``reserved_regions``; ``needs`` are what the
    host itself uses of a device, each with its kind and words (see ``critical``).

    ``machine`` lacks its drivers: ``complete_machine`` adds those of the models.
    """

    about: str
    places: tuple[Place, ...]
    slots: Mapping[str, str] = field(default_factory=dict)
    regions: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    needs: Mapping[str, tuple[tuple[Kind, str], ...]] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)

    def complete_machine(self) -> Machine:
        """The machine with the drivers of all its devices, vfio-pci and pci-stub."""
        fits: dict[str, list[str]] = {}
        kinds: dict[str, DriverKind] = {}
        for model in dict.fromkeys(place.model for place in self.places):
            if model.driver is not None:
                fits.setdefault(model.driver, []).append(model.modalias)
                kinds[model.driver] = model.kind
        drivers = {name: Driver(kinds[name], tuple(found)) for name, found in fits.items()}
        drivers |= {"vfio-pci": Driver("vfio"), "pci-stub": Driver("stub")}
        return replace(self.machine, drivers=drivers | dict(self.machine.drivers))


def full(at: str) -> str:
    """A PCI name with its domain."""
    return at if at.count(":") == 2 else f"0000:{at}"
