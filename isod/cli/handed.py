"""The files of a lease by role: numbers that an argument or a variable can name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from isod.model.address import Address
from isod.model.reply import FileRole


@dataclass(frozen=True, slots=True)
class HandedFiles:
    """Which fd is what. Devices and groups keep the order in which they were handed over."""

    hold: int | None = None
    iommufd: int | None = None
    container: int | None = None
    devices: Mapping[Address, int] = field(default_factory=lambda: MappingProxyType({}))
    groups: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, files: Iterable[tuple[FileRole, int]]) -> HandedFiles:
        """Sort roles and their fd numbers."""
        single: dict[str, int] = {}
        devices: dict[Address, int] = {}
        groups: dict[int, int] = {}
        for role, number in files:
            if role.role == "device" and role.address is not None:
                devices[role.address] = number
            elif role.role == "group" and role.group is not None:
                groups[role.group] = number
            else:
                single[role.role] = number
        return cls(
            single.get("hold"),
            single.get("iommufd"),
            single.get("container"),
            MappingProxyType(devices),
            MappingProxyType(groups),
        )

    @property
    def numbers(self) -> frozenset[int]:
        """All of them."""
        alone = (self.hold, self.iommufd, self.container)
        several = (*self.devices.values(), *self.groups.values())
        return frozenset(number for number in (*alone, *several) if number is not None)

    def as_json(self) -> str:
        """Roles and numbers, for the variable ISOD_FDS."""
        document: dict[str, object] = {
            name: number
            for name, number in (
                ("hold", self.hold),
                ("iommufd", self.iommufd),
                ("container", self.container),
            )
            if number is not None
        }
        document["devices"] = {str(address): number for address, number in self.devices.items()}
        document["groups"] = {str(group): number for group, number in self.groups.items()}
        return json.dumps(document)
