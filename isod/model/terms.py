"""The limits that a rule sets on what it allows. A lease keeps those it was granted with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .step import HandOver, Scrub

ResetTerm = Literal["if-owned", "whole-set"]
Anchor = Literal["hold", "cgroup", "explicit"]


@dataclass(frozen=True, slots=True)
class What:
    """A ``what`` table: a device matches if every key that is not None does.

    ``address`` is a shell pattern over the whole address; ``exact`` says that it holds no wildcard
    (a rule that names a device exactly may take it from any driver). Hex ids are lower case.
    ``noiommu`` None: devices without an IOMMU do not match.
    """

    address: str | None = None
    exact: bool = False
    vendor: str | None = None
    device: str | None = None
    subsystem_vendor: str | None = None
    subsystem_device: str | None = None
    device_class: str | None = None
    serial: str | None = None
    slots: tuple[str, ...] | None = None
    numa_nodes: tuple[int, ...] | None = None
    pool: str | None = None
    noiommu: bool | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """Devices under one rule: of one uid, and of all; None: no limit."""

    devices: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Revoke:
    """Ask by event; ``ask`` seconds later wait for ever, or end the peer (``kill``)."""

    ask: float = 30.0
    then: Literal["wait", "kill"] = "wait"


@dataclass(frozen=True, slots=True)
class Terms:
    """``memlock`` is in bytes, None leaves the peer's limit alone. ``hand_over`` lists what is
    allowed; the first is what a client gets that has no wish. ``critical_ok`` holds exact
    addresses that the host guard lets pass."""

    hand_over: tuple[HandOver, ...] = ("iommufd", "group", "nodes")
    memlock: int | None = None
    scrub: Scrub = "try"
    reset: ResetTerm = "if-owned"
    take_from: tuple[str, ...] = ()
    may_take: tuple[What, ...] = ()
    critical_ok: tuple[str, ...] = ()
    quota: Quota = Quota()
    revoke: Revoke = Revoke()
    anchor: tuple[Anchor, ...] = ("hold",)
