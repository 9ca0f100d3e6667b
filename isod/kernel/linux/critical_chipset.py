"""Chipset functions, which firmware and the kernel use with and without a driver."""

from __future__ import annotations

from .critical_finding import Findings

# Class codes of the PCI Code and ID Assignment Specification. Bridges between PCI buses (0604,
# 0609) are not here: isod never takes more from them than a hot-plug driver. Neither is 0805, the
# SD host controller, which counts by what is mounted from it.
_WORDS = {
    "0500": "memory",
    "0501": "memory",
    "0502": "memory",
    "0580": "a memory controller",
    "0600": "a host bridge",
    "0601": "an ISA bridge",
    "0602": "an EISA bridge",
    "0603": "a MicroChannel bridge",
    "0680": "a chipset bridge",
    "0800": "the interrupt controller",
    "0801": "a DMA controller",
    "0802": "a timer",
    "0803": "the clock",
    "0804": "a hot-plug controller",
    "0806": "an IOMMU",
    "0880": "a system peripheral",
    "0c05": "an SMBus controller",
}


def read_chipset(findings: Findings) -> None:
    """Note chipset functions. An administrator who put one on a vfio driver has taken it from the
    host already; one without a driver is in use all the same (ACPI, firmware)."""
    for beginning, words in _WORDS.items():
        for device in findings.of_class(beginning):
            if not device.on_vfio:
                findings.add(device.address.name, "chipset", f"is {words} of the chipset")
