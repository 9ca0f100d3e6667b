"""Quarantine: a device that isod does not dare to give out, until an administrator clears it.

Where the record of it was lost, nobody knows which devices these were: until an administrator says
that it is settled, every device counts as one of them (*unknown*, with the reason).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .address import Address
from .host import Device
from .lease import LeaseDevice

There = Literal["same", "another", "none"]


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A device in quarantine, and ``why``.

    It holds for the address, whatever sits there: a sick device may come back with other ids (a
    card in its firmware's recovery mode does), so another ``vendor`` or ``product`` is no proof
    that the device was exchanged. They are kept so that an administrator can tell. Hex, four
    digits; empty where the device was not there to be read.
    """

    address: Address
    why: str
    vendor: str = ""
    product: str = ""

    @classmethod
    def of(cls, device: Device | LeaseDevice, why: str) -> QuarantineEntry:
        return cls(device.address, why, device.vendor, device.product)

    def compared_with(self, device: Device | None) -> There:
        """What is at the address now, beside what was put in quarantine."""
        if device is None:
            return "none"
        ids = (self.vendor, self.product)
        return "same" if ids in {(device.vendor, device.product), ("", "")} else "another"
