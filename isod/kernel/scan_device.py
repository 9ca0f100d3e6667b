"""One device: from its directory in sysfs to a frozen Device.

Essentials are the ids, the class, and the links ``driver`` and ``iommu_group``: without them a
device is left out, never guessed. Everything else may be missing.

Attributes read below ``/sys/bus/pci/devices/BDF`` (Documentation/ABI/testing/sysfs-bus-pci):
``vendor device subsystem_vendor subsystem_device class revision modalias numa_node reset_method
enable secondary_bus_number sriov_totalvfs boot_vga boot_display serial_number config`` (bridges
only), the links ``driver iommu_group physfn virtfnN``, the directories ``vfio-dev nvme``, and the
device's place below ``/sys/devices`` for the bridges above it. Not read, since they take the
device's lock and so may wait for a client: ``uevent`` and ``sriov_numvfs``. ``driver_override``
takes it too before 7.x; see ``overrides``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from isod.model.address import Address
from isod.model.host import Device

from .overrides import Override
from .tree import (
    PCI_NAME,
    Directory,
    ShortageError,
    UnreadableError,
    check_shortage,
    decimal,
    hexadecimal,
    names_in,
)

NOIOMMU_GROUP = "vfio-noiommu"
_HEADER_TYPE = 0x0E


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a device's own directory does not say: names of slots, ports on which pciehp runs,
    groups without an IOMMU."""

    slots: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    hotplug_ports: frozenset[str] = frozenset()
    noiommu_groups: frozenset[int] = frozenset()


def read_pci_device(directory: Directory, around: Surroundings, override: Override) -> Device:
    """Read the PCI device whose directory is open. Raises UnreadableError."""
    name = directory.name
    device_class = hexadecimal(directory.text("class"), 6)
    header_type = _header_type(directory, device_class)
    group = read_group_number(directory)
    virtual_functions = _virtual_functions(directory)
    return Device(
        address=Address.pci(name),
        generation=directory.generation,
        vendor=hexadecimal(directory.text("vendor"), 4),
        product=hexadecimal(directory.text("device"), 4),
        subsystem_vendor=_optional_id(directory, "subsystem_vendor"),
        subsystem_product=_optional_id(directory, "subsystem_device"),
        device_class=device_class,
        revision=_optional_id(directory, "revision", 2),
        driver=directory.link("driver"),
        driver_override=override.text,
        modalias=_optional(directory, "modalias") or "",
        group=group,
        numa_node=_node(decimal(_optional(directory, "numa_node"))),
        reset_methods=tuple((_optional(directory, "reset_method") or "").split()),
        enabled=decimal(_optional(directory, "enable")),
        slot=around.slots.get(name.rpartition(".")[0]),
        hotplug_driver="pciehp" if name in around.hotplug_ports else None,
        bridges=_bridges(directory.path),
        secondary_bus=_secondary_bus(directory, name, device_class, header_type),
        header_type=header_type,
        physical_function=_pci_address(
            directory.link("physfn") if directory.has("physfn") else None
        ),
        virtual_functions=virtual_functions,
        virtual_functions_max=decimal(_optional(directory, "sriov_totalvfs")) or 0,
        cdev=read_cdev(directory),
        noiommu_node=f"noiommu-{group}" if group in around.noiommu_groups else None,
        boot_display="1"
        in (_optional(directory, "boot_vga"), _optional(directory, "boot_display")),
        serial=_serial(directory),
        unsettled=override.unsettled,
    )


def read_other_device(directory: Directory, bus: str) -> Device:
    """Read a device of another bus (a group member that is no PCI device): what every bus has."""
    return Device(
        address=Address(bus, directory.name),
        generation=directory.generation,
        driver=directory.link("driver"),
        modalias=_optional(directory, "modalias") or "",
        group=read_group_number(directory),
        numa_node=_node(decimal(_optional(directory, "numa_node"))),
        cdev=read_cdev(directory),
        parent=_made_on(directory.path) if bus == "mdev" else None,
    )


def _made_on(path: str) -> Address | None:
    """The parent of an mdev, in whose directory its own one lies (drivers/vfio/mdev/mdev_core.c,
    mdev_device_create). Not every parent is on a bus: the samples' ones are of a class."""
    try:
        above = Path(path).resolve(strict=True).parent
        if PCI_NAME.fullmatch(above.name):
            return Address.pci(above.name)
        return Address((above / "subsystem").readlink().name, above.name)
    except OSError as error:
        check_shortage(path, error)
        return None


def read_group_number(directory: Directory) -> int | None:
    """The number of a device's IOMMU group; None when it has none. Raises UnreadableError."""
    link = directory.link("iommu_group")
    if link is None:
        return None
    number = decimal(link)
    if number is None or number < 0:
        raise UnreadableError(f"{directory.path}/iommu_group: not a group: {link!r}")
    return number


def read_cdev(directory: Directory) -> str | None:
    """The name of a device's character device, from its ``vfio-dev`` directory.

    A kernel without CONFIG_VFIO_DEVICE_CDEV has the directory too, but no device number in it.
    """
    if not directory.has("vfio-dev"):
        return None
    registered = Path(directory.path) / "vfio-dev"
    for name in names_in(registered):
        if (registered / name / "dev").exists():
            return name
    return None


def _optional(directory: Directory, name: str) -> str | None:
    try:
        return directory.text(name) if directory.has(name) else None
    except ShortageError:
        raise
    except UnreadableError:
        return None


def _optional_id(directory: Directory, name: str, digits: int = 4) -> str:
    try:
        return hexadecimal(directory.text(name), digits)
    except ShortageError:
        raise
    except UnreadableError:
        return ""


def _node(number: int | None) -> int | None:
    return number if number is not None and number >= 0 else None


def _header_type(directory: Directory, device_class: str) -> int | None:
    """Of bridges only: reading config space wakes a sleeping device, and only a device of base
    class 06 can have a bridge's header."""
    if not device_class.startswith("06"):
        return None
    try:
        data = directory.data("config", 64)
    except ShortageError:
        raise
    except UnreadableError:
        return None
    if data is None or len(data) <= _HEADER_TYPE or data[_HEADER_TYPE] == 0xFF:
        return None
    return data[_HEADER_TYPE]


def _secondary_bus(
    directory: Directory, name: str, device_class: str, header_type: int | None
) -> str | None:
    """``DDDD:BB``, comparable with Address.pci_bus. Zero means that none was assigned."""
    if header_type is None and not device_class.startswith("0604"):
        return None
    number = decimal(_optional(directory, "secondary_bus_number"))
    if number is None or not 0 < number < 256:
        return None
    return f"{name.partition(':')[0]}:{number:02x}"


def _bridges(path: str) -> tuple[Address, ...]:
    """The bridges above, nearest first, from the device's place in the tree of ``/sys/devices``."""
    try:
        above = os.readlink(path).split("/")[:-1]  # noqa: PTH115 (a path object costs more)
    except OSError as error:
        check_shortage(path, error)
        return ()
    return tuple(Address.pci(part) for part in reversed(above) if PCI_NAME.fullmatch(part))


def _pci_address(name: str | None) -> Address | None:
    if name is None:
        return None
    if not PCI_NAME.fullmatch(name):
        raise UnreadableError(f"not a PCI address: {name!r}")
    return Address.pci(name)


def _virtual_functions(directory: Directory) -> tuple[Address, ...]:
    total = decimal(_optional(directory, "sriov_totalvfs")) or 0
    found = []
    for index in range(min(total, 65536)):
        name = _pci_address(directory.link(f"virtfn{index}"))
        if name is None:
            break
        found.append(name)
    return tuple(found)


def _serial(directory: Directory) -> str | None:
    """An NVMe controller's own serial while its driver shows it, else the PCI serial number
    (``serial_number``, readable for root since 6.17)."""
    controllers = f"{directory.path}/nvme"
    for controller in names_in(controllers) if directory.has("nvme") else ():
        try:
            text = Path(controllers, controller, "serial").read_text().strip()
        except OSError as error:
            check_shortage(controllers, error)
            continue
        except UnicodeDecodeError:
            continue
        if text:
            return text
    return _optional(directory, "serial_number") or None
