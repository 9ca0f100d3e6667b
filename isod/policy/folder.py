"""Policy files: found, read, checked and compiled. Any fault names file and place.

A basename in a later folder hides the same basename in an earlier one; what is left is read in
the order of the basenames, as one list of rules.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from isod.core.compile import (
    LookUp,
    compile_limits,
    compile_pool,
    compile_quirk,
    compile_rule,
    compile_who,
)
from isod.model.policy import Limits, Policy, Pool, Quirk, Rule, Who
from isod.model.policy_file import PolicyTable, RuleTable

from .toml_file import TomlError, read_toml

FOLDERS = (
    Path("/usr/lib/isod/policy.d"),
    Path("/run/isod/policy.d"),
    Path("/etc/isod/policy.d"),
)


class PolicyError(Exception):
    """A policy that is not to be used. ``problems`` are lines of ``file: place: what``."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def files(places: Sequence[Path]) -> tuple[Path, ...]:
    """The files that count, in the order in which they are read. A place is a folder, or a file
    that stands for itself."""
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            found.update({path.name: path for path in place.glob("*.toml")})
        elif place.exists():
            found[place.name] = place
    return tuple(found[name] for name in sorted(found))


def load(places: Sequence[Path], number: int, names: LookUp | None = None) -> Policy:
    """Load all files of the places (blocking: files and name service).

    ``names`` takes the place of the machine's users and groups. Raises PolicyError with every
    fault.
    """
    problems: list[str] = []
    warnings: list[str] = []
    rules: list[Rule] = []
    pools: dict[str, Pool] = {}
    quirks: list[tuple[str, Quirk]] = []
    admins: list[Who] = []
    limits: Limits | None = None
    for path in files(places):
        table = _read(path, problems)
        if table is None:
            continue
        look_up = _Warning(path.name, warnings, names or ask_the_machine)
        for rule in table.rule:
            rules.append(compile_rule(rule, path.name, look_up))
            warnings.extend(_nobody(rule, rules[-1]))
        quirks.extend((path.name, compile_quirk(quirk)) for quirk in table.quirk)
        for pool in table.pool:
            if pool.name in pools:
                problems.append(f"{path.name}: pool {pool.name}: the name is taken")
            if any(what.pool is not None for what in pool.devices):
                problems.append(f"{path.name}: pool {pool.name}: pools do not nest")
            pools[pool.name] = compile_pool(pool)
        if table.limits is not None:
            if limits is not None:
                problems.append(f"{path.name}: limits: stand in an earlier file already")
            limits = compile_limits(table.limits)
        if table.admin is not None:
            admins.extend(compile_who(who, look_up) for who in table.admin.who)
    problems.extend(_names(rules, pools))
    problems.extend(_quirk_names(quirks, pools))
    if problems:
        raise PolicyError(problems)
    return Policy(
        tuple(rules),
        number,
        tuple(warnings),
        MappingProxyType(pools),
        tuple(quirk for _, quirk in quirks),
        limits or Limits(),
        tuple(admins),
    )


def _names(rules: Sequence[Rule], pools: Mapping[str, Pool]) -> Iterator[str]:
    """Names that are taken twice, and pools that are not there."""
    seen: dict[str, str] = {}
    for rule in rules:
        if rule.name in seen:
            yield f"{rule.file}: rule {rule.name}: the name is taken, by one in {seen[rule.name]}"
        seen[rule.name] = rule.file
        for what in (*(rule.what or ()), *rule.terms.may_take):
            if what.pool is not None and what.pool not in pools:
                yield f"{rule.file}: rule {rule.name}: there is no pool {what.pool}"


def _quirk_names(quirks: Sequence[tuple[str, Quirk]], pools: Mapping[str, Pool]) -> Iterator[str]:
    """As ``_names``, of quirks, each with the file that it stands in."""
    seen: dict[str, str] = {}
    for file, quirk in quirks:
        if quirk.name in seen:
            yield f"{file}: quirk {quirk.name}: the name is taken, by one in {seen[quirk.name]}"
        seen[quirk.name] = file
        for what in quirk.devices:
            if what.pool is not None and what.pool not in pools:
                yield f"{file}: quirk {quirk.name}: there is no pool {what.pool}"


def _nobody(table: RuleTable, rule: Rule) -> Iterator[str]:
    """Tables that match nobody, since no user whom they name has a uid that they list. Of a deny
    that would be noticed late."""
    tables = () if table.who == "anyone" else table.who
    for number, (said, who) in enumerate(zip(tables, rule.who or (), strict=True), start=1):
        if said.user and said.uid and not who.uids:
            yield (
                f"{rule.file}: rule {rule.name}, who {number}: matches nobody: none of the users "
                "has one of the uids"
            )


def ask_the_machine(kind: str, name: str) -> int | None:
    """The id of a user or group by the machine's name service; None: there is no such name."""
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        # ValueError: a zero byte, which no name has.
        return None


class _Warning:
    """Names to ids; an unknown one is a warning and matches nobody."""

    def __init__(self, file: str, warnings: list[str], names: LookUp) -> None:
        self._file = file
        self._warnings = warnings
        self._names = names

    def __call__(self, kind: str, name: str) -> int | None:
        number = self._names(kind, name)
        if number is None:
            self._warnings.append(f"{self._file}: no {kind} is called {name}")
        return number


def _read(path: Path, problems: list[str]) -> PolicyTable | None:
    try:
        content = read_toml(path)
    except TomlError as error:
        problems.append(f"{path.name}: {error}")
    else:
        try:
            return PolicyTable.model_validate(content)
        except ValidationError as error:
            items = error.errors(include_url=False)
            meant = [item for item in items if not _of_the_other_kind(item)]
            problems.extend(
                f"{path.name}: {_place(item['loc'], content)}: {_words(item)}"
                for item in meant or items
            )
    return None


def _of_the_other_kind(item: object) -> bool:
    """Whether an error is about a kind that was not meant: who writes a list of tables need not be
    told that the word "anyone" would do, nor who misspells that word that a list would."""
    assert isinstance(item, dict)
    kind = str(item["loc"][-1])
    if kind.startswith("literal["):
        return isinstance(item["input"], list)
    return "list[" in kind and isinstance(item["input"], str)


def _words(item: object) -> str:
    assert isinstance(item, dict)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return "unknown key"
    if item["type"] == "missing":
        return "is missing"
    return message[:1].lower() + message[1:]


def _place(location: Sequence[int | str], content: dict[str, object]) -> str:
    """``rule 2 (alice-vm), what 1, vendor`` of pydantic's path."""
    words: list[str] = []
    for part in location:
        if isinstance(part, int):
            words[-1] = f"{words[-1]} {part + 1}" if words else str(part + 1)
        elif "[" not in part and part != "constrained-str":
            words.append(part)
    rules = content.get("rule")
    if len(location) > 1 and location[0] == "rule" and isinstance(rules, list):
        rule = rules[int(location[1])]
        if isinstance(rule, dict) and isinstance(rule.get("name"), str):
            words[0] += f" ({rule['name']})"
    return ", ".join(words) or "file"
