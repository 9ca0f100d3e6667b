"""Names of PCI devices: words for classes, and the machine's ``pci.ids`` if it has one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from isod.model.reply import DeviceInfo

PLACES = (Path("/usr/share/misc/pci.ids"), Path("/usr/share/hwdata/pci.ids"))

# By class and subclass; then by class alone (PCI Code and ID Assignment Specification).
_CLASS_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "0100": "SCSI", "0101": "IDE", "0104": "RAID", "0105": "ATA", "0106": "SATA",
        "0107": "SAS", "0108": "NVMe", "01": "Storage",
        "0200": "Ethernet", "0207": "InfiniBand", "0280": "Network", "02": "Network",
        "0300": "VGA", "0302": "3D", "03": "Display",
        "0401": "Audio", "0403": "Audio", "04": "Multimedia", "05": "Memory",
        "0600": "Host bridge", "0601": "ISA bridge", "0604": "PCI bridge", "06": "Bridge",
        "0700": "Serial port", "07": "Communication",
        "0806": "IOMMU", "08": "System", "09": "Input",
        "0c00": "FireWire", "0c03": "USB", "0c05": "SMBus", "0c": "Serial bus",
        "0d": "Wireless", "0e": "I2O", "0f": "Satellite",
        "10": "Crypto", "11": "Signal processing", "12": "Accelerator", "ff": "Unassigned",
    }
)  # fmt: skip
_OTHER_BUS = MappingProxyType({"mdev": "Mediated device", "vdpa": "vDPA device"})
_VENDOR_TAIL = re.compile(
    r"[\s,]+(corporation|corp|inc|incorporated|ltd|limited|co|company|gmbh|llc|technologies|"
    r"technology|semiconductor)\.?$",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\[([^\]]+)\]\s*$")


@dataclass(frozen=True, slots=True)
class PciNames:
    """Names by vendor, and by vendor and product; ids are four hex digits."""

    vendors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    products: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}))


def read_names(lines: Iterable[str], vendors: Collection[str]) -> PciNames:
    """Take the wanted vendors out of a ``pci.ids``: a vendor starts its line, its products follow
    behind one tab, subsystems behind two. Device classes come last ("C 01 …")."""
    names: dict[str, str] = {}
    products: dict[tuple[str, str], str] = {}
    vendor: str | None = None
    for line in lines:
        if line.startswith("C "):
            break
        if not line.strip() or line.startswith(("#", "\t\t")):
            continue
        number, _, name = line.strip().partition("  ")
        if not line.startswith("\t"):
            vendor = number if number in vendors else None
            if vendor is not None:
                names[vendor] = name
        elif vendor is not None:
            products[vendor, number] = name
    return PciNames(MappingProxyType(names), MappingProxyType(products))


def machine_names(devices: Iterable[DeviceInfo], places: Iterable[Path] = PLACES) -> PciNames:
    """The names that this machine knows for these devices; none if it has no ``pci.ids``."""
    vendors = {device.vendor for device in devices}
    for place in places:
        try:
            with place.open(encoding="utf-8", errors="replace") as lines:
                return read_names(lines, vendors)
        except OSError:
            continue  # the next place, or numbers instead of names
    return PciNames()


def class_words(device_class: str) -> str:
    """A word or two for a class code in hex: ``Ethernet`` for "020000"."""
    found = _CLASS_WORDS.get(device_class[:4]) or _CLASS_WORDS.get(device_class[:2])
    return found or f"Class {device_class[:4] or 'unknown'}"


def what(device: DeviceInfo, names: PciNames) -> str:
    """Say what a device is: ``Ethernet Intel 82574L``, or ``Ethernet (8086:10d3)``."""
    other = _OTHER_BUS.get(device.address.bus)
    if other is not None:
        return other
    words = [class_words(device.device_class)]
    vendor = names.vendors.get(device.vendor)
    product = names.products.get((device.vendor, device.product))
    if vendor is not None:
        words.append(_short_vendor(vendor))
    words.append(_short_product(product) if product else f"({device.vendor}:{device.product})")
    return " ".join(words)


def _short_vendor(name: str) -> str:
    brackets = _BRACKETS.search(name)
    if brackets:
        return brackets[1]
    shorter = _VENDOR_TAIL.sub("", name)
    while shorter != name:
        name, shorter = shorter, _VENDOR_TAIL.sub("", shorter)
    return name


def _short_product(name: str) -> str:
    """Keep the name it is sold under (in brackets) rather than the chip's."""
    brackets = _BRACKETS.search(name)
    return brackets[1] if brackets else name
