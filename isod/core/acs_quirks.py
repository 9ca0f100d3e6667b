"""Devices that redirect requests without an ACS capability that says so, by the kernel's own list.

Vendors have told the kernel's developers that these functions send no request to each other, or
that these ports send none to their neighbours (drivers/pci/quirks.c, pci_dev_acs_enabled, 7.2).
The kernel groups devices by it, so whoever explains groups has to know it. A kernel may know more
or fewer: what then differs from the real groups is shown as such, never smoothed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isod.model.survey import PortType

_PORTS = frozenset({PortType.root_port, PortType.downstream_port})
_Ranges = tuple[tuple[int, int], ...]


def _ids(*products: int) -> _Ranges:
    return tuple((product, product) for product in products)


# pci_quirk_mf_endpoint_acs, pci_quirk_wangxun_nic_acs: no requests between functions.
_FUNCTIONS: Mapping[int, _Ranges] = {
    0x1924: _ids(0x0903, 0x0923, 0x0A03),
    0x8086: (
        *_ids(0x10C6, 0x10DB, 0x10DD, 0x10E1, 0x10F1, 0x1507, 0x1514, 0x151C, 0x1529, 0x152A),
        (0x10F7, 0x10FB),
        *_ids(0x10FC, 0x154D, 0x154F, 0x1551, 0x1558),
        *_ids(0x1509, 0x150E, 0x150F, 0x1510, 0x1511, 0x1516, 0x1527),
        *_ids(0x10C9, 0x10E6, 0x10E7, 0x10E8, 0x150A, 0x150D, 0x1518, 0x1526),
        *_ids(0x10A7, 0x10A9, 0x10D6, 0x105E, 0x105F, 0x1060, 0x10D9, 0x15B7, 0x15B8),
        (0x1521, 0x1524),
    ),
    0x19A2: _ids(0x0710),
    0x10DF: _ids(0x0720),
    0x177D: _ids(0xA026, 0xA059, 0xA060),
    0x14E4: (*_ids(0x16D7), (0x1750, 0x1752), (0x1760, 0x1763)),
    0x1D17: _ids(0x3038, 0x3104, 0x9083),
    0x8088: (
        (0x0100, 0x010F),
        *_ids(0x1001, 0x2001, 0x5010, 0x5025, 0x5040, 0x5110, 0x5125, 0x5140),
    ),
}

# Ports without a capability that do not send requests to their neighbours. The kernel tests the
# kind of port for some of these only; the ids are ports' in any case.
_ISOLATING_PORTS: Mapping[int, _Ranges] = {
    0x17CB: _ids(0x0400, 0x0401, 0x0115, 0x0111, 0x0120),
    0x1DBF: _ids(0x0401),
    0x177D: ((0xA000, 0xA7FF), *_ids(0xAF84, 0xB884)),
    0x10E8: _ids(0xE004),
    0x1DEF: ((0xE005, 0xE00C),),
    0x14E4: _ids(0xD714),
    0x0014: tuple(
        (first, first) for first in (*range(0x3C09, 0x3C2A, 16), *range(0x7A09, 0x7A6A, 16))
    ),
    0x1C36: _ids(0x0031),
    0x1D17: ((0x0710, 0x071E), *_ids(0x0721), (0x0723, 0x0752)),
    0x1957: tuple(
        (first, first)
        for low in (0x8D80, 0x8D88, 0x8D90, 0x8D98)
        for base in (low, low + 0x20)
        for first in (base, base + 1)
    )
    + _ids(0x8D82, 0x8D83, 0x8D8A, 0x8D8B, 0x8D92, 0x8D93, 0x8D9A, 0x8D9B),
}

# Root ports of Intel's chipsets that isolate if the kernel has written to registers of the chipset
# which config space does not show (pci_quirk_intel_pch_acs).
_CHIPSET_PORTS: _Ranges = (
    *((0x3B42, 0x3B51), (0x1C10, 0x1C1F), (0x1E10, 0x1E1F), (0x8C10, 0x8C1F), (0x9C10, 0x9C1B)),
    *((0x9C90, 0x9C9B), (0x8D10, 0x8D1E)),
    *_ids(0x1D10, 0x1D12, 0x1D14, 0x1D16, 0x1D18, 0x1D1A, 0x1D1C, 0x1D1E),
    *_ids(0x8C90, 0x8C92, 0x8C94, 0x8C96, 0x8C98, 0x8C9A, 0x8C9C, 0x8C9E),
)

# Functions of AMD's southbridge; they isolate where firmware describes an AMD IOMMU, which it does
# on every machine that has these in an IOMMU group (pci_quirk_amd_sb_acs).
_SOUTHBRIDGE: Mapping[int, _Ranges] = {
    0x1002: _ids(0x4385, 0x439C, 0x4383, 0x439D, 0x4384, 0x4399),
    0x1022: _ids(0x780F, 0x7809),
}


def isolated_by_quirk(  # noqa: PLR0911 - a line for each kind
    vendor: str, product: str, port: PortType | None, *, on_root_bus: bool
) -> bool | None:
    """True where the kernel takes the function for one that redirects its requests, whatever its
    capability says; None where that depends on what config space does not show; False: no quirk.
    ``port`` is None for what is not PCI Express. Ids are four hexadecimal digits."""
    try:
        maker, number = int(vendor, 16), int(product, 16)
    except ValueError:
        return False
    if _within(number, _FUNCTIONS.get(maker, ())):
        return True
    if maker == 0x8086 and port is PortType.integrated_endpoint:
        return True  # pci_quirk_rciep_acs; VT-d allows peers translated addresses alone
    if port in _PORTS and _within(number, _ISOLATING_PORTS.get(maker, ())):
        return True
    if on_root_bus and _within(number, _SOUTHBRIDGE.get(maker, ())):
        return True
    if maker == 0x8086 and port is PortType.root_port and _within(number, _CHIPSET_PORTS):
        return None
    return False


def _within(number: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)
