"""What a policy file may say: one strict model per table. ``policy.folder`` reads files into
these, ``core.compile`` makes rules of them.

A file is TOML; ``[[rule]]`` tables in order, first match decides, no match denies. Unknown keys are
refused, so that a misspelt exception is never ignored in silence.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from .address_pattern import address_pattern, exact_address, pci_address
from .request import LEASE_FDS, LEASE_HOLDS, PACKET_BYTES
from .step import HandOver, Scrub

_SIZE = re.compile(r"(\d{1,19})\s*(B|KiB|MiB|GiB|TiB)?")
_UNIT = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_TIME = re.compile(r"(\d{1,9})\s*(ms|s|min|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_YEAR = 366 * 24 * 3600.0
_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError('a size is bytes, or "512MiB", "8GiB"')
    return int(match[1]) * _UNIT[match[2]]


def _time(value: object) -> object:
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a time is "500ms", "30s", "5min" or "1h"')
    return int(match[1]) * _SECONDS[match[2]]


def _ids(value: object) -> object:
    """Read ``1000``, ``"1000"`` or ``"100000-165535"`` as an inclusive range."""
    match = None
    if isinstance(value, int | str) and not isinstance(value, bool):
        match = _RANGE.fullmatch(str(value))
    if match is None:
        raise ValueError('an id is a number or a range such as "100000-165535"')
    low, high = int(match[1]), int(match[2] or match[1])
    if high < low:
        raise ValueError("a range runs from the lower to the higher")
    return (low, high)


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Size = Annotated[int, BeforeValidator(_size), Field(ge=0, lt=1 << 63)]
Seconds = Annotated[float, BeforeValidator(_time), Field(le=_YEAR)]
IdRange = Annotated[tuple[int, int], BeforeValidator(_ids)]
Pattern = Annotated[str, AfterValidator(address_pattern)]
ExactAddress = Annotated[str, AfterValidator(exact_address)]
PciAddress = Annotated[str, AfterValidator(pci_address)]
Hex4 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{4}$")]
ClassCode = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{2}([0-9a-fA-F]{2}){0,2}$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(min_length=1)]
Drivers = list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]]
Count = Annotated[int, Field(ge=0)]
ADMIN_RANGE = 32
# FileDescriptorStoreMax= of the unit: beyond it a hold is dropped in silence, and its lease would
# not outlive a restart.
KEPT_HOLDS = 4096


class WhoTable(_Table):
    """One table of ``who``: its keys AND (``user`` and ``uid`` too), a key's values OR. ``unit`` is
    a system unit; names under a user's manager match only as ``user_unit``, together with ``user``
    or ``uid``. ``cgroup`` and ``label`` take shell patterns."""

    user: Names | None = None
    uid: list[IdRange] | None = None
    group: Names | None = None
    gid: list[IdRange] | None = None
    unit: Names | None = None
    user_unit: Names | None = None
    cgroup: Names | None = None
    label: Names | None = None

    @model_validator(mode="after")
    def _meaningful(self) -> WhoTable:
        if not self.model_fields_set:
            raise ValueError('an empty table matches nobody; "anyone" is a word of its own')
        if self.user_unit is not None and self.user is None and self.uid is None:
            raise ValueError("user_unit is chosen by its user: say user or uid, too")
        return self


class WhatTable(_Table):
    """One table of ``what``: its keys AND. ``noiommu = true`` is the only way to a device without
    an IOMMU."""

    address: Pattern | None = None
    vendor: Hex4 | None = None
    device: Hex4 | None = None
    subsystem_vendor: Hex4 | None = None
    subsystem_device: Hex4 | None = None
    device_class: Annotated[ClassCode | None, Field(alias="class")] = None
    serial: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    slot: Names | None = None
    numa: list[Count] | None = None
    pool: Word | None = None
    noiommu: bool | None = None

    @model_validator(mode="after")
    def _meaningful(self) -> WhatTable:
        if not self.model_fields_set:
            raise ValueError('an empty table matches nothing; "anything" is a word of its own')
        if self.device is not None and self.vendor is None:
            raise ValueError("device ids are per vendor: say vendor, too")
        if self.subsystem_device is not None and self.subsystem_vendor is None:
            raise ValueError("device ids are per vendor: say subsystem_vendor, too")
        return self


What = Annotated[list[WhatTable], Field(min_length=1)]


class QuotaTable(_Table):
    """How much one uid (``devices``), and all uids together (``total``), have under the rule."""

    devices: Count | None = None
    total: Count | None = None


class RevokeTable(_Table):
    """How a lease is taken back: ask by event, and after ``ask`` wait or end the peer."""

    ask: Seconds = 30.0
    then: Literal["wait", "kill"] = "wait"


class TermsTable(_Table):
    """``[rule.terms]``: the limits on what a rule allows."""

    hand_over: Annotated[list[HandOver], Field(min_length=1)] = Field(
        default=["iommufd", "group", "nodes"]
    )
    memlock: Size | None = None
    scrub: Scrub = "try"
    reset: Literal["if-owned", "whole-set"] = "if-owned"
    take_from: Drivers = []
    may_take: list[WhatTable] = []
    critical_ok: list[ExactAddress] = []
    quota: QuotaTable = QuotaTable()
    revoke: RevokeTable = RevokeTable()
    anchor: Annotated[list[Literal["hold", "cgroup", "explicit"]], Field(min_length=1)] = Field(
        default=["hold"]
    )


class RuleTable(_Table):
    """``[[rule]]``."""

    name: Word
    effect: Literal["allow", "deny"]
    who: Literal["anyone"] | Annotated[list[WhoTable], Field(min_length=1)]
    what: Literal["anything"] | What
    terms: TermsTable = TermsTable()

    @model_validator(mode="after")
    def _terms_of_allow(self) -> RuleTable:
        if self.effect == "deny" and "terms" in self.model_fields_set:
            raise ValueError("a deny has no terms")
        return self


class PoolTable(_Table):
    """``[[pool]]``: devices that are asked for by the pool's name. ``bind = "ahead"``: free members
    wait on vfio-pci; without ``take_from`` only those that no driver has."""

    name: Word
    devices: What
    bind: Literal["ahead", "on-demand"] = "on-demand"
    take_from: Drivers = []

    @model_validator(mode="after")
    def _ahead(self) -> PoolTable:
        if self.take_from and self.bind != "ahead":
            raise ValueError('take_from of a pool goes with bind = "ahead"; a rule has its own')
        return self


class QuirkTable(_Table):
    """``[[quirk]]``: devices that are not isolated from each other, whatever the kernel says. The
    groups of all that match ``devices``, sit below ``bridge``, or are mdevs of ``parent``, become
    one isolation group."""

    name: Word
    devices: What | None = None
    bridge: PciAddress | None = None
    parent: ExactAddress | None = None

    @model_validator(mode="after")
    def _one_of(self) -> QuirkTable:
        if [self.devices, self.bridge, self.parent].count(None) != 2:
            raise ValueError("a quirk says one of devices, bridge and parent")
        return self


class LimitsTable(_Table):
    """``[limits]``: what one client can cost the daemon."""

    connections: Annotated[int, Field(ge=1)] = 2048
    connections_per_uid: Annotated[int, Field(ge=1)] = 64
    connects_per_second: Annotated[int, Field(ge=1)] = 32
    requests: Annotated[int, Field(ge=1)] = 16
    requests_per_uid: Annotated[int, Field(ge=1)] = 128
    # One packet, and the files of one lease, fit in any case.
    bytes: Annotated[Size, Field(ge=2 * PACKET_BYTES)] = 2 << 20
    bytes_per_uid: Annotated[Size, Field(ge=2 * PACKET_BYTES)] = 8 << 20
    unread_fds: Annotated[int, Field(ge=LEASE_FDS)] = 512
    unread_fds_per_uid: Annotated[int, Field(ge=LEASE_FDS)] = 1024
    leases: Annotated[int, Field(ge=1, le=KEPT_HOLDS // LEASE_HOLDS)] = 512
    leases_per_uid: Annotated[int, Field(ge=1)] = 64
    waits_per_uid: Annotated[int, Field(ge=0)] = 16
    subscriptions_per_connection: Annotated[int, Field(ge=1)] = 8
    subscriptions_per_uid: Annotated[int, Field(ge=1)] = 64
    unread_events: Annotated[int, Field(ge=1)] = 2048
    hello: Seconds = 10.0
    read: Seconds = 30.0


class AdminTable(_Table):
    """``[admin]``: who may use the admin socket's methods besides root. They reach it by rights on
    its folder, which go by user or group: so each table names some, and not too many."""

    who: list[WhoTable] = []

    @field_validator("who")
    @classmethod
    def _reachable(cls, who: list[WhoTable]) -> list[WhoTable]:
        for table in who:
            named = (table.user, table.uid, table.group, table.gid)
            if all(part is None for part in named):
                raise ValueError("say user, uid, group or gid: rights on the socket go by these")
            for low, high in (*(table.uid or ()), *(table.gid or ())):
                if high - low >= ADMIN_RANGE:
                    raise ValueError(f"a range of administrators has at most {ADMIN_RANGE} ids")
        return who


class PolicyTable(_Table):
    """A whole file."""

    version: Literal[1]
    pool: list[PoolTable] = []
    rule: list[RuleTable] = []
    quirk: list[QuirkTable] = []
    limits: LimitsTable | None = None
    admin: AdminTable | None = None
