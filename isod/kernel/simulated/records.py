"""What the simulated kernel knows of an open file. Stored as JSON in the file itself.

Files refer to each other by name (``contexts/iommufd.4f…``). Whoever points is the truth: a
container's list of groups is a hint that is checked against what those groups say, so that a
program killed between two writes leaves nothing to repair.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

Mapping = tuple[int, int, int]
"""A DMA mapping: first address and size in bytes, and the process charged for it."""


@dataclass
class GroupFile:
    """``/dev/vfio/N``. ``incarnation`` tells this group object from a later one of that number."""

    kind: ClassVar[str] = "group"
    number: int
    incarnation: str
    noiommu: bool = False
    container: str | None = None


@dataclass
class DeviceFile:
    """A device, opened through its group (``via`` names the group's file) or as a cdev.

    A cdev is of use once it is bound to ``iommufd``, as its object ``devid``. ``attached`` is
    the IOAS that it was attached to; of a group's devices the latest one (``attached_at``) moved
    all of them to its own.
    """

    kind: ClassVar[str] = "device"
    device: str
    group: int
    via: str | None = None
    iommufd: str | None = None
    devid: int = 0
    attached: int | None = None
    attached_at: int = 0
    reset_works: bool = False

    @property
    def granted(self) -> bool:
        """Whether anything but BIND is allowed on it."""
        return self.via is not None or self.iommufd is not None


@dataclass
class Container:
    """``/dev/vfio/vfio``. ``iommu`` is the type that SET_IOMMU chose."""

    kind: ClassVar[str] = "container"
    groups: list[str] = field(default_factory=list)
    iommu: int | None = None
    mappings: list[Mapping] = field(default_factory=list)


@dataclass
class Iommufd:
    """``/dev/iommu``. ``devices`` are the files bound to it by object id, ``spaces`` its IOASes.

    ``per_process``: pinned memory is charged to the process, not to its user.
    """

    kind: ClassVar[str] = "iommufd"
    per_process: bool = False
    devices: dict[str, str] = field(default_factory=dict)
    spaces: dict[str, list[Mapping]] = field(default_factory=dict)


Record = GroupFile | DeviceFile | Container | Iommufd
RecordType = TypeVar("RecordType", GroupFile, DeviceFile, Container, Iommufd)

_KINDS: dict[str, type[Record]] = {
    kind.kind: kind for kind in (GroupFile, DeviceFile, Container, Iommufd)
}


def encode(record: Record, room: int) -> bytes:
    """The record as JSON, padded to at least ``room`` bytes: one write replaces it whole."""
    return json.dumps({"kind": record.kind, **vars(record)}).encode().ljust(room)


def decode(content: bytes) -> Record | None:
    """Read a record; None for a file whose opener was killed before it wrote one."""
    if not content:
        return None
    fields = json.loads(content)
    return _KINDS[fields.pop("kind")](**fields)
