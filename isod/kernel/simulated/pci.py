"""The PCI tree of a simulated host: who sits on whose bus, and what a reset hits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .host import Host
from .tree import PCI_NAME, names_in, text


@dataclass(frozen=True, slots=True)
class ResetScope:
    """What a hot reset of a device would hit (``functions``), and which set vfio counts it to."""

    set_name: str
    functions: tuple[str, ...]
    fails: bool


def bus_of(name: str) -> str:
    """``DDDD:BB`` of a PCI name."""
    return name.rpartition(":")[0]


def secondary_bus(directory: Path) -> str | None:
    """The bus right below a bridge, as ``DDDD:BB``; None for anything else."""
    number = text(directory / "secondary_bus_number")
    if not number or int(number) == 0:
        return None
    return f"{directory.name.partition(':')[0]}:{int(number):02x}"


def on_bus(parent: Path, bus: str) -> list[Path]:
    """The devices on a bus, given the directory that holds them, sorted."""
    return sorted(
        parent / name
        for name in names_in(parent)
        if PCI_NAME.fullmatch(name) and bus_of(name) == bus
    )


def on_and_below(parent: Path, bus: str) -> list[Path]:
    """The devices on a bus and on all buses below it."""
    found = []
    for directory in on_bus(parent, bus):
        found.append(directory)
        below = secondary_bus(directory)
        if below is not None:
            found += on_and_below(directory, below)
    return found


def reset_scope(host: Host, name: str) -> ResetScope | None:
    """What a hot reset of a device hits; None where there is none (ENODEV).

    drivers/vfio/pci/vfio_pci_core.c: the slot if the slot can be reset, else the bus and all
    buses below it. A root bus cannot be reset, nor one that has no bridge of its own (VFs).
    """
    directory = host.tree.directory(name)
    if directory is None:
        return None
    machine, bus, parent = host.machine, bus_of(name), directory.parent
    fails = bus in machine.failing_resets
    slot = next((slot for slot in machine.slot_resets if _in_slot(name, slot)), None)
    whole = [] if secondary_bus(parent) != bus else on_and_below(parent, bus)
    if any(path.name in machine.no_bus_reset for path in whole):
        whole, slot = [], None
    if slot is not None:
        top = [path for path in on_bus(parent, bus) if _in_slot(path.name, slot)]
        hit = [path.name for path in whole if any(path.is_relative_to(at) for at in top)]
        return ResetScope(_set_name(directory, f"slot:{slot}"), tuple(hit), fails)
    if not whole:
        return None
    return ResetScope(_set_name(directory, f"bus:{bus}"), tuple(path.name for path in whole), fails)


def _in_slot(name: str, slot: str) -> bool:
    """A slot is a whole bus ("0000:01") or one device on it ("0000:01:00")."""
    return slot in (bus_of(name), name.rpartition(".")[0])


def _set_name(directory: Path, shared: str) -> str:
    """vfio counts devices on a root bus and virtual functions as sets of their own."""
    if directory.parent.name.startswith("pci") or (directory / "physfn").exists():
        return f"alone:{directory.name}"
    return shared


def set_name(host: Host, name: str) -> str | None:
    """The set that vfio would count a device to; None when it is gone."""
    directory = host.tree.directory(name)
    if directory is None:
        return None
    scope = reset_scope(host, name)
    return _set_name(directory, f"bus:{bus_of(name)}") if scope is None else scope.set_name


def function_reset_works(host: Host, name: str) -> bool:
    """Whether a reset of this function alone would succeed.

    The method ``bus`` is listed for every device that was found first on its bus, and refused
    while another one is on it (drivers/pci/pci.c, ``pci_parent_bus_reset``).
    """
    directory = host.tree.directory(name)
    if directory is None:
        return False
    for method in host.tree.attribute(name, "reset_method").split():
        if method not in ("bus", "cxl_bus"):
            return True
        alone = len(on_bus(directory.parent, bus_of(name))) == 1
        if alone and bus_of(name) not in host.machine.failing_resets:
            return True
    return False
