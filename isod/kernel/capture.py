"""What a host looks like, as a capture: the facts of sysfs that a scan reads, and no others.

Left out unless asked for: serial numbers, and config space beyond the header type of bridges.
Never in it: users, names and addresses of network interfaces, mount points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from isod.model.critical import CriticalFacts, Kind
from isod.model.host import HostSnapshot

from .capture_file import FORMAT, VERSION, Capture
from .capture_tree import (
    GROUP_ATTRIBUTES,
    HEADER_BYTES,
    OTHER_ATTRIBUTES,
    PCI_ATTRIBUTES,
    entries_of,
)
from .port import Kernel
from .tree import UnreadableError

_WORDS: Mapping[Kind, str] = {
    "default route": "carries the default route",
    "network disk": "carries a disk",
    "another namespace": "has a network interface in another namespace",
    "mounted disk": "holds a mounted file system",
    "swap": "holds swap",
    "volume": "holds part of a volume",
    "console": "carries the console",
    "unknown": "may be needed by the host",
}
"""What is said of a use, without the names that the words of the live host have. What follows from
sysfs (chipset, boot display) is found again when the capture is loaded."""


def capture_host(
    kernel: Kernel, root: Path, *, serials: bool = False, survey: bool = False
) -> Capture:
    """Look at a host (blocking). ``root`` is what stands for ``/``; ``survey`` reads config space
    as a survey does, which needs CAP_SYS_ADMIN and wakes sleeping devices. Raises OSError."""
    try:
        snapshot = kernel.snapshot(0)
        found = entries_of(root, snapshot, serials=serials, survey=survey)
        entries = {entry.path: entry for entry in found}
    except UnreadableError as error:
        raise OSError(error.errno, str(error)) from error
    facts = kernel.critical(tuple(snapshot.devices.values()))
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "features": asdict(snapshot.features),
        "critical": _critical(snapshot, facts),
        "unread": None if facts.unread is None else "what the host needs was not known",
        "serials": serials,
        "holds": _holds(serials=serials, survey=survey),
    }
    return Capture(manifest, tuple(entries[path] for path in sorted(entries)))


def _holds(*, serials: bool, survey: bool) -> list[str]:
    pci = ", ".join((*PCI_ATTRIBUTES, "driver_override"))
    return [
        f"of each PCI device: its place among the bridges, {pci}",
        "of each PCI device: its driver, IOMMU group, physical and virtual functions, vfio-dev",
        "of devices on other buses in IOMMU groups: name, driver, group, "
        + ", ".join(OTHER_ATTRIBUTES),
        "of each IOMMU group: members, " + ", ".join(GROUP_ATTRIBUTES),
        "of physical slots: name and address; which ports pciehp runs; names of PCI drivers",
        "of NUMA nodes: distance",
        "what the host needs of its devices, by kind; no names of interfaces, disks or folders",
        "what the kernel offers: release, IOMMUFD, device cdevs, container, no-IOMMU mode",
        "serial numbers" if serials else "no serial numbers",
        "config space: header and the registers of capabilities that isod survey reads"
        if survey
        else f"config space: the first {HEADER_BYTES} bytes of bridges",
    ]


def _critical(snapshot: HostSnapshot, facts: CriticalFacts) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for address in sorted(snapshot.devices):
        kinds = dict.fromkeys(use.kind for use in facts.uses_of(address) if use.kind in _WORDS)
        if kinds:
            found[address.name] = [{"kind": kind, "words": _WORDS[kind]} for kind in kinds]
    return found
