"""Whether a function sends its requests up to the IOMMU rather than to a neighbour.

The kernel's rule for one function (drivers/pci/pci.c, pci_acs_enabled, the same from 6.1 to 7.2),
with a third answer: where config space was not read, nobody knows, and that is never a yes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from isod.model.address import Address
from isod.model.host import Device
from isod.model.isolation import Control, Known
from isod.model.survey import Acs, PortType, SurveyedFunction

from .acs_quirks import isolated_by_quirk


class AcsBit(IntFlag):
    """Bits of both ACS registers (include/uapi/linux/pci_regs.h)."""

    source_validation = 0x01
    translation_blocking = 0x02
    request_redirect = 0x04
    completion_redirect = 0x08
    upstream_forwarding = 0x10
    egress_control = 0x20
    direct_translated = 0x40


REQUIRED = (
    AcsBit.source_validation
    | AcsBit.request_redirect
    | AcsBit.completion_redirect
    | AcsBit.upstream_forwarding
)
"""What the kernel wants of each function on the way (drivers/iommu/iommu.c, REQ_ACS_FLAGS)."""

_WORDS: tuple[tuple[AcsBit, Control], ...] = (
    (AcsBit.source_validation, "source validation"),
    (AcsBit.request_redirect, "request redirect"),
    (AcsBit.completion_redirect, "completion redirect"),
    (AcsBit.upstream_forwarding, "upstream forwarding"),
    (AcsBit.translation_blocking, "translation blocking"),
    (AcsBit.egress_control, "egress control"),
    (AcsBit.direct_translated, "direct translated"),
)
_NEVER = frozenset({PortType.pci_bridge, PortType.pcie_bridge, PortType.event_collector})
_ALWAYS_NEED = frozenset({PortType.root_port, PortType.downstream_port})


@dataclass(frozen=True, slots=True)
class Passage:
    """One function on the way of a request, and whether it redirects.

    ``port`` is None for what is not PCI Express, or unknown (see ``read``). ``why`` goes on from
    the function's name: "has no ACS". ``missing``: required controls that it has and that are off.
    """

    address: Address
    redirects: Known
    why: str
    port: PortType | None = None
    read: bool = False
    acs: Acs | None = None
    missing: tuple[Control, ...] = ()


def judge(  # noqa: PLR0911 - a line for each kind
    device: Device, facts: SurveyedFunction | None, port: PortType | None, *, on_root_bus: bool
) -> Passage:
    """Judge one function. ``facts`` are its own, None if there are none; ``port`` is its kind as
    the kernel corrects it."""
    if facts is None or facts.header_type is None:
        return Passage(device.address, "unknown", "was not surveyed")
    if not facts.capabilities and facts.express is None:
        return Passage(device.address, "unknown", "did not show its capabilities")

    def passage(redirects: Known, why: str, missing: tuple[Control, ...] = ()) -> Passage:
        return Passage(device.address, redirects, why, port, True, facts.acs, missing)

    quirk = isolated_by_quirk(device.vendor, device.product, port, on_root_bus=on_root_bus)
    if quirk is True:
        return passage("yes", "is known to the kernel as redirecting")
    if port is None:
        return passage("no", "is conventional PCI, which has no ACS")
    if port in _NEVER:
        return passage("no", "has no ACS")
    if port is PortType.reserved:
        return passage("unknown", "is of no known kind")
    if port not in _ALWAYS_NEED and not is_multifunction(device, facts):
        return passage("yes", "has one function")
    if facts.acs is None:
        if quirk is None:
            return passage("unknown", "may isolate by its chipset's registers")
        if facts.extended:
            return passage("no", "has no ACS")
        return passage("unknown", "did not show its extended capabilities")
    # Except for egress control, what is not among the capabilities counts as hard-wired on.
    off = REQUIRED & facts.acs.capabilities & ~facts.acs.control
    if off:
        missing = tuple(word for bit, word in _WORDS if bit & off)
        return passage("no", f"has {' and '.join(missing)} off", missing)
    return passage("yes", "redirects")


def is_multifunction(device: Device, facts: SurveyedFunction) -> bool:
    """As the kernel has it: by the header, or as a function past the first (drivers/pci/probe.c,
    pci_scan_slot); never for virtual functions (drivers/pci/iov.c, pci_iov_add_virtfn)."""
    if device.is_virtual_function:
        return False
    return facts.multifunction or not device.address.name.endswith(".0")


def controls(word: int) -> tuple[Control, ...]:
    """The names of the bits in one of the registers."""
    return tuple(name for bit, name in _WORDS if word & bit)
