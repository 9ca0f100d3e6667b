"""``CASES.toml``: who asks for what, and what the policy is expected to say.

Users and groups that the machine does not have are given ids in ``[users]`` and ``[groups]``, so
that a policy can be tried out where its users do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isod.model.peer import Peer
from isod.model.reason import Reason
from isod.model.request import Acquire, WantedDevice, WantedPool, parse_wanted

from .folder import ask_the_machine
from .toml_file import TomlError, read_toml

_NOBODY = 65534
Id = Annotated[int, Field(ge=0, lt=1 << 32)]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class CasesError(Exception):
    """The file cannot be used: one line that names file and place."""


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PeerTable(_Table):
    """Who asks: as the kernel would state it of a connection."""

    user: Text | None = None
    uid: Id | None = None
    groups: list[Text | Id] = []
    unit: Text | None = None
    user_unit: Text | None = None
    cgroup: Text | None = None
    label: Text | None = None

    @model_validator(mode="after")
    def _somebody(self) -> PeerTable:
        if (self.user is None) == (self.uid is None):
            raise ValueError("a peer has either a user or a uid")
        return self


class CaseTable(_Table):
    """``[[case]]``. ``ask`` is what ``lease.acquire`` takes; a device may be its address
    alone, or ``pool:NAME:COUNT``.

    ``allowed`` names the rule (rules, where the devices have different ones), ``refused`` the
    reason. ``hand_over`` and ``along`` (addresses that nobody asked for) are looked at if given.
    """

    name: Text
    peer: Text | PeerTable
    ask: dict[str, Any]
    allowed: Text | list[Text] | None = None
    refused: str | None = None
    hand_over: Literal["iommufd", "group", "nodes"] | None = None
    along: list[Text] | None = None

    @model_validator(mode="after")
    def _one_answer(self) -> CaseTable:
        if (self.allowed is None) == (self.refused is None):
            raise ValueError("a case expects either allowed or refused")
        if self.refused is not None and self.refused not in Reason.__members__:
            raise ValueError(f"there is no reason {self.refused}")
        return self


class CasesTable(_Table):
    """A whole file. ``policy`` and ``host`` are used unless others are given on the command line;
    paths are relative to the file."""

    version: Literal[1]
    policy: list[Text] = []
    host: Text | None = None
    users: dict[str, Id] = {}
    groups: dict[str, Id] = {}
    peer: dict[str, PeerTable] = {}
    case: list[CaseTable] = []


@dataclass(frozen=True, slots=True)
class Case:
    """One case, ready to be tried."""

    name: str
    peer: Peer
    request: Acquire
    expected: CaseTable


@dataclass(frozen=True, slots=True)
class Cases:
    """A file of cases. ``policy`` are its places of policy files, none if it names none."""

    file: Path
    policy: tuple[Path, ...]
    host: str | None
    cases: tuple[Case, ...]
    users: dict[str, int]
    groups: dict[str, int]

    def look_up(self, kind: str, name: str) -> int | None:
        """A name's id: the file's own first, then the machine's."""
        own = (self.users if kind == "user" else self.groups).get(name)
        return ask_the_machine(kind, name) if own is None else own


def read_cases(file: Path) -> Cases:
    """Read a file of cases. Raises CasesError."""
    try:
        table = CasesTable.model_validate(read_toml(file))
    except TomlError as error:
        raise CasesError(f"{file}: {error}") from error
    except ValidationError as error:
        raise CasesError(f"{file}: {_first(error)}") from error
    found = Cases(
        file,
        tuple(file.parent / name for name in table.policy),
        table.host,
        (),
        dict(table.users),
        dict(table.groups),
    )
    cases = tuple(_case(found, table, case) for case in table.case)
    return Cases(file, found.policy, found.host, cases, found.users, found.groups)


def _wanted(text: str, place: str) -> WantedDevice | WantedPool:
    """An address, ``pool:NAME`` or ``pool:NAME:COUNT``."""
    try:
        return parse_wanted(text)
    except ValueError as error:
        raise CasesError(f"{place}: {error}") from error


def _case(file: Cases, table: CasesTable, case: CaseTable) -> Case:
    place = f"{file.file}: case {case.name}"
    who = table.peer.get(case.peer) if isinstance(case.peer, str) else case.peer
    if who is None:
        raise CasesError(f"{place}: there is no [peer.{case.peer}]")
    asked = dict(case.ask)
    devices = asked.get("devices")
    if isinstance(devices, list):
        asked["devices"] = [_wanted(d, place) if isinstance(d, str) else d for d in devices]
    try:
        request = Acquire.model_validate(asked)
    except ValidationError as error:
        raise CasesError(f"{place}: ask: {_first(error)}") from error
    return Case(case.name, _peer(file, who, place), request, case)


def _peer(file: Cases, who: PeerTable, place: str) -> Peer:
    def number(kind: str, name: str) -> int:
        found = file.look_up(kind, name)
        if found is None:
            raise CasesError(f"{place}: no {kind} is called {name}: give it an id in [{kind}s]")
        return found

    groups = [one if isinstance(one, int) else number("group", one) for one in who.groups]
    uid = who.uid if who.user is None else number("user", who.user)
    assert uid is not None
    return Peer(
        uid=uid,
        gid=groups[0] if groups else _NOBODY,
        groups=frozenset(groups),
        pid=1,
        verified=True,
        label=who.label,
        cgroup=who.cgroup or "/",  # known, and none that a rule names
        unit=who.unit,
        user_unit=who.user_unit,
    )


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
