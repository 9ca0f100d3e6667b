"""The policy: what a file may say (strict models) and what it comes to (frozen rules).

A file is TOML; ``[[rule]]`` tables in order, first match decides, no match denies.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .lease import Terms
from .step import HandOver, Scrub

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)?")
_UNIT = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")
_HEX4 = r"^[0-9a-fA-F]{4}$"


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError('a size is bytes, or "512MiB", "8GiB"')
    return int(match[1]) * _UNIT[match[2]]


def _ids(value: object) -> object:
    """Read ``1000``, ``"1000"`` or ``"100000-165535"`` as an inclusive range."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('an id is a number or a range such as "100000-165535"')
    match = _RANGE.fullmatch(str(value))
    if match is None:
        raise ValueError('an id is a number or a range such as "100000-165535"')
    low = int(match[1])
    high = int(match[2]) if match[2] else low
    if high < low:
        raise ValueError("a range runs from the lower to the higher")
    return (low, high)


def _pattern(value: str) -> str:
    if not value.startswith(("pci:", "mdev:", "vdpa:")):
        raise ValueError("an address pattern starts with pci:, mdev: or vdpa:")
    return value.lower() if value.startswith("pci:") else value


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Size = Annotated[int, BeforeValidator(_size), Field(ge=0, lt=1 << 63)]
IdRange = Annotated[tuple[int, int], BeforeValidator(_ids)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
Hex4 = Annotated[str, Field(pattern=_HEX4)]


class WhoTable(_Table):
    """One table of ``who``: its keys AND, a key's values OR."""

    user: list[str] | None = None
    uid: list[IdRange] | None = None
    group: list[str] | None = None
    gid: list[IdRange] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> WhoTable:
        if not self.model_fields_set:
            raise ValueError('an empty table matches nobody; "anyone" is a word of its own')
        return self


class WhatTable(_Table):
    """One table of ``what``: its keys AND."""

    address: Pattern | None = None
    vendor: Hex4 | None = None
    device: Hex4 | None = None
    device_class: Annotated[
        str | None, Field(alias="class", pattern=r"^[0-9a-fA-F]{2}([0-9a-fA-F]{2}){0,2}$")
    ] = None

    @model_validator(mode="after")
    def _not_empty(self) -> WhatTable:
        if not self.model_fields_set:
            raise ValueError('an empty table matches nothing; "anything" is a word of its own')
        if self.device is not None and self.vendor is None:
            raise ValueError("device ids are per vendor: say vendor, too")
        return self


class TermsTable(_Table):
    """``[rule.terms]``: the limits on what a rule allows."""

    hand_over: Annotated[list[HandOver], Field(min_length=1)] = Field(
        default=["iommufd", "group", "nodes"]
    )
    memlock: Size | None = None
    scrub: Scrub = "try"
    take_from: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]] = []


class RuleTable(_Table):
    """``[[rule]]``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    effect: Literal["allow", "deny"]
    who: Literal["anyone"] | Annotated[list[WhoTable], Field(min_length=1)]
    what: Literal["anything"] | Annotated[list[WhatTable], Field(min_length=1)]
    terms: TermsTable = TermsTable()

    @model_validator(mode="after")
    def _terms_of_allow(self) -> RuleTable:
        if self.effect == "deny" and "terms" in self.model_fields_set:
            raise ValueError("a deny has no terms")
        return self


class PolicyTable(_Table):
    """A whole file."""

    version: Literal[1]
    rule: list[RuleTable] = []


@dataclass(frozen=True, slots=True)
class Who:
    """A ``who`` table with its names looked up. None: the key is not there. An unknown name gives
    an empty range, which matches nobody."""

    uids: tuple[tuple[int, int], ...] | None = None
    gids: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class What:
    """A ``what`` table. ``exact`` is set when ``address`` holds no wildcard."""

    address: re.Pattern[str] | None = None
    exact: str | None = None
    vendor: str | None = None
    device: str | None = None
    device_class: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule ready to be matched. ``who`` or ``what`` None means anyone, anything."""

    name: str
    allow: bool
    who: tuple[Who, ...] | None
    what: tuple[What, ...] | None
    terms: Terms
    file: str


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules in order. ``number`` grows with every load."""

    rules: tuple[Rule, ...] = ()
    number: int = 0
    warnings: tuple[str, ...] = ()


def compile_what(table: WhatTable) -> What:
    """Make a ``what`` table ready to be matched."""
    address = table.address
    wild = address is not None and any(letter in address for letter in "*?[")
    return What(
        address=re.compile(fnmatch.translate(address)) if address and wild else None,
        exact=None if wild else address,
        vendor=table.vendor.lower() if table.vendor else None,
        device=table.device.lower() if table.device else None,
        device_class=table.device_class.lower() if table.device_class else None,
    )


def compile_terms(table: TermsTable) -> Terms:
    """Make terms of their table."""
    return Terms(
        hand_over=tuple(table.hand_over),
        memlock=table.memlock,
        scrub=table.scrub,
        take_from=tuple(table.take_from),
    )
