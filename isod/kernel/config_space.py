"""PCI config space: from its bytes to what matters for isolation. Takes any bytes.

Layouts are those of include/uapi/linux/pci_regs.h (7.2). Both lists of capabilities are walked as
the kernel does (drivers/pci/pci.h, PCI_FIND_NEXT_CAP and PCI_FIND_NEXT_EXT_CAP), but a list that
does not end where it should is not believed to lack what was not found in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from isod.model.survey import Acs, Ari, Express, PortType, Sriov

Read = Callable[[int, int], bytes]
"""Bytes of config space at an offset; fewer than asked for where it ends or may not be read."""

HEADER_BYTES = 64
_PLAIN_BYTES = 256
_WHOLE_BYTES = 4096

_IDS, _STATUS, _HEADER_TYPE, _LIST, _CARDBUS_LIST = 0x00, 0x06, 0x0E, 0x34, 0x14
_STATUS_LIST = 0x10
_CARDBUS = 2
_MULTIFUNCTION = 0x80

_EXPRESS, _ACS, _ARI, _SRIOV = 0x10, 0x000D, 0x000E, 0x0010
# A list of the first 256 bytes has room for 48 entries of 4 bytes, the extended one for 480 of 8.
_MOST, _MOST_EXTENDED = 48, 480

_PORTS = {
    0x0: PortType.endpoint,
    0x1: PortType.legacy_endpoint,
    0x4: PortType.root_port,
    0x5: PortType.upstream_port,
    0x6: PortType.downstream_port,
    0x7: PortType.pci_bridge,
    0x8: PortType.pcie_bridge,
    0x9: PortType.integrated_endpoint,
    0xA: PortType.event_collector,
}
_SLOT_IMPLEMENTED = 0x0100
_VIRTUAL_FUNCTIONS_ENABLED = 0x0001


@dataclass(frozen=True, slots=True)
class ConfigSpace:
    """See ``isod.model.survey.SurveyedFunction``, whose fields these are."""

    header_type: int | None = None
    multifunction: bool = False
    capabilities: bool = False
    extended: bool = False
    express: Express | None = None
    acs: Acs | None = None
    ari: Ari | None = None
    sriov: Sriov | None = None


@dataclass(slots=True)
class _List:
    """Where capabilities are, by id, and whether the list was followed to its end."""

    whole: bool = False
    at: dict[int, int] = field(default_factory=dict)


def parse_config_space(read: Read, size: int) -> ConfigSpace:
    """Parse what ``read`` gives. ``size`` is how long config space is (256 or 4096), readable or
    not. Reads the header and the registers of capabilities, and nothing between them: several
    chips lock up when undefined config space is read (drivers/pci/pci-sysfs.c, pci_read_config).
    """
    header = read(0, HEADER_BYTES)
    # Not told by the vendor's id: virtual functions have all ones there (SR-IOV 1.1, 3.4.1.1).
    if len(header) < HEADER_BYTES or header[_HEADER_TYPE] == 0xFF:
        return ConfigSpace()
    plain = _plain_list(read, header)
    express = _express(read, plain)
    longer = size > _PLAIN_BYTES
    extended = _extended_list(read) if longer else _List(whole=plain.whole and express is None)
    acs, ari, sriov = _acs(read, extended, header), _ari(read, extended), _sriov(read, extended)
    return ConfigSpace(
        header_type=header[_HEADER_TYPE] & ~_MULTIFUNCTION,
        multifunction=bool(header[_HEADER_TYPE] & _MULTIFUNCTION),
        capabilities=plain.whole,
        extended=extended.whole,
        express=express,
        acs=acs,
        ari=ari,
        sriov=sriov,
    )


def parse_bytes(data: bytes) -> ConfigSpace:
    """Parse config space that was read as a whole, or as far as that was allowed: 64 bytes."""
    whole = min(len(data), _WHOLE_BYTES)
    size = _WHOLE_BYTES if whole <= HEADER_BYTES else whole
    return parse_config_space(lambda at, count: data[:whole][at : at + count], size)


def _plain_list(read: Read, header: bytes) -> _List:
    found = _List()
    if not _word(header, _STATUS) & _STATUS_LIST:
        found.whole = True
        return found
    cardbus = header[_HEADER_TYPE] & ~_MULTIFUNCTION == _CARDBUS
    at = header[_CARDBUS_LIST if cardbus else _LIST]
    for _ in range(_MOST):
        at &= ~3
        if at < HEADER_BYTES:
            found.whole = at == 0
            return found
        entry = read(at, 2)
        if len(entry) < 2 or entry[0] == 0xFF:
            return found
        found.at.setdefault(entry[0], at)
        at = entry[1]
    return found


def _extended_list(read: Read) -> _List:
    found = _List()
    at = _PLAIN_BYTES
    for _ in range(_MOST_EXTENDED):
        entry = read(at, 4)
        if len(entry) < 4:
            return found
        head = int.from_bytes(entry, "little")
        # All ones: the machine's access method does not reach beyond 256 bytes, or it is gone.
        if head == 0xFFFFFFFF:
            return found
        if head == 0 and at == _PLAIN_BYTES:
            found.whole = True
            return found
        found.at.setdefault(head & 0xFFFF, at)
        at = head >> 20 & ~3
        if at < _PLAIN_BYTES:
            found.whole = at == 0
            return found
    return found


def _express(read: Read, among: _List) -> Express | None:
    flags = _registers(read, among, _EXPRESS, 2, 2)
    if flags is None:
        return None
    number = _word(flags, 0)
    port = _PORTS.get(number >> 4 & 0xF, PortType.reserved)
    if not number & _SLOT_IMPLEMENTED:
        return Express(port=port)
    slot = _registers(read, among, _EXPRESS, 0x14, 4)
    return None if slot is None else Express(port=port, slot=int.from_bytes(slot, "little") >> 19)


def _acs(read: Read, among: _List, header: bytes) -> Acs | None:
    wide = _has_wide_acs(header)
    both = _registers(read, among, _ACS, 4, 8 if wide else 4)
    if both is None:
        return None
    return Acs(capabilities=_word(both, 0), control=_word(both, 4 if wide else 2))


def _has_wide_acs(header: bytes) -> bool:
    """Root ports of Intel's 100 and 200 series have ACS registers of four bytes where the
    specification has two (their errata 22 and 23; drivers/pci/quirks.c,
    pci_quirk_intel_spt_pch_acs)."""
    if _word(header, _IDS) != 0x8086:
        return False
    product = _word(header, _IDS + 2)
    ranges = ((0xA110, 0xA11F), (0xA167, 0xA16A), (0xA290, 0xA29F), (0xA2E7, 0xA2EE))
    return any(first <= product <= last for first, last in (*ranges, (0x9D10, 0x9D1B)))


def _ari(read: Read, among: _List) -> Ari | None:
    word = _registers(read, among, _ARI, 4, 2)
    return None if word is None else Ari(following=word[1])


def _sriov(read: Read, among: _List) -> Sriov | None:
    found = _registers(read, among, _SRIOV, 0x08, 10)
    if found is None:
        return None
    on = _word(found, 0) & _VIRTUAL_FUNCTIONS_ENABLED
    return Sriov(total=_word(found, 6), enabled=_word(found, 8) if on else 0)


def _registers(read: Read, among: _List, capability: int, offset: int, count: int) -> bytes | None:
    """Registers of a capability; None where there is none. One that reaches past the end makes
    the list one that was not read whole."""
    at = among.at.get(capability)
    if at is None:
        return None
    data = read(at + offset, count)
    if len(data) < count:
        among.whole = False
        return None
    return data


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")
