"""What the host itself needs of its devices at one moment: routes, disks, consoles, chipset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from .address import Address

Kind = Literal[
    "default route",
    "network disk",
    "another namespace",
    "mounted disk",
    "swap",
    "volume",
    "display",
    "console",
    "chipset",
    "unknown",
]


@dataclass(frozen=True, slots=True, order=True)
class CriticalUse:
    """One thing that the host does with a device.

    ``words`` go on from the device's name: "carries the default route (eth0)". ``unknown`` stands
    for what could not be looked up and so has to be assumed.
    """

    kind: Kind
    words: str


@dataclass(frozen=True, slots=True)
class CriticalFacts:
    """The uses of all devices that have any.

    ``unread`` says why nothing at all is known, if so: then every device has a use.
    """

    uses: Mapping[Address, tuple[CriticalUse, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    unread: str | None = None

    def uses_of(self, address: Address) -> tuple[CriticalUse, ...]:
        if self.unread is not None:
            return (CriticalUse("unknown", f"may be needed by the host ({self.unread})"),)
        return self.uses.get(address, ())
