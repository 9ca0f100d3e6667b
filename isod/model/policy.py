"""A policy ready to be asked: frozen rules, in order, with all names looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .terms import Terms, What

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Who:
    """A ``who`` table: a peer matches if every key that is not None does.

    Users and groups are inclusive ranges of ids; an unknown name gives none, and matches nobody.
    ``uids`` are those of ``user`` and ``uid``; where a table has both, what they have in common,
    since a peer is one user. It may be in many groups: those that were named, ``groups``, and
    those by number, ``gids``, are asked for apart.
    ``cgroups`` and ``labels`` are shell patterns.
    """

    uids: Ranges | None = None
    groups: Ranges | None = None
    gids: Ranges | None = None
    units: tuple[str, ...] | None = None
    user_units: tuple[str, ...] | None = None
    cgroups: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. ``who`` or ``what`` None means anyone, anything. ``file`` is its basename."""

    name: str
    allow: bool
    who: tuple[Who, ...] | None
    what: tuple[What, ...] | None
    terms: Terms
    file: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Devices under a name. ``ahead``: free members are kept on vfio-pci, taken from the drivers in
    ``take_from`` or from none."""

    name: str
    devices: tuple[What, ...]
    ahead: bool = False
    take_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quirk:
    """Devices that are not isolated from each other: those that match, that sit below a bridge, or
    that are a parent's mdevs (both exact addresses)."""

    name: str
    devices: tuple[What, ...] = ()
    bridge: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client can cost the daemon. ``hello`` and ``read`` are in seconds: until the first
    request, and until fds that were sent are read. ``unread_events`` are those that wait for one
    subscriber until its subscription ends. Without ``per`` in its name a limit is for one
    connection, but for ``connections`` and ``leases``, which are those of all users, and
    ``connects_per_second``, which are one user's new ones when it has had ``connections_per_uid``
    at once."""

    connections: int = 2048
    connections_per_uid: int = 64
    connects_per_second: int = 32
    requests: int = 16
    requests_per_uid: int = 128
    bytes: int = 2 << 20
    bytes_per_uid: int = 8 << 20
    unread_fds: int = 512
    unread_fds_per_uid: int = 1024
    leases: int = 512
    leases_per_uid: int = 64
    waits_per_uid: int = 16
    subscriptions_per_connection: int = 8
    subscriptions_per_uid: int = 64
    unread_events: int = 2048
    hello: float = 10.0
    read: float = 30.0


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules in order. ``number`` grows with every load. ``missing``: there is none to go by,
    since that of the start has a fault: nothing is allowed, and what is bound ahead stays."""

    rules: tuple[Rule, ...] = ()
    number: int = 0
    warnings: tuple[str, ...] = ()
    pools: Mapping[str, Pool] = field(default_factory=lambda: MappingProxyType({}))
    quirks: tuple[Quirk, ...] = ()
    limits: Limits = Limits()
    admins: tuple[Who, ...] = ()
    missing: bool = False
