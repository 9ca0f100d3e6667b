"""Policy files: found, read, checked and compiled. Any fault names file and place.

A basename in a later folder hides the same basename in an earlier one; what is left is read in
the order of the basenames, as one list of rules.
"""

from __future__ import annotations

import grp
import pwd
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from isod.model.policy import (
    Policy,
    PolicyTable,
    Rule,
    RuleTable,
    Who,
    WhoTable,
    compile_terms,
    compile_what,
)

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


def files(folders: Sequence[Path]) -> tuple[Path, ...]:
    """The files that count, in the order in which they are read."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            found.update({path.name: path for path in folder.glob("*.toml")})
    return tuple(found[name] for name in sorted(found))


def load(folders: Sequence[Path], number: int) -> Policy:
    """Load all folders (blocking: files and name service). Raises PolicyError with every fault."""
    problems: list[str] = []
    warnings: list[str] = []
    rules: list[Rule] = []
    for path in files(folders):
        table = _read(path, problems)
        if table is None:
            continue
        rules.extend(_compile(rule, path.name, warnings) for rule in table.rule)
    seen: dict[str, str] = {}
    for rule in rules:
        if rule.name in seen:
            problems.append(
                f"{rule.file}: rule {rule.name}: the name is taken, by one in {seen[rule.name]}"
            )
        seen[rule.name] = rule.file
    if problems:
        raise PolicyError(problems)
    return Policy(tuple(rules), number, tuple(warnings))


def _read(path: Path, problems: list[str]) -> PolicyTable | None:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path.name}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{path.name}: is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path.name}: {error}")
    else:
        try:
            return PolicyTable.model_validate(content)
        except ValidationError as error:
            problems.extend(
                f"{path.name}: {_place(item['loc'], content)}: {_words(item)}"
                for item in error.errors(include_url=False)
            )
    return None


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


def _compile(table: RuleTable, file: str, warnings: list[str]) -> Rule:
    who = None
    if table.who != "anyone":
        who = tuple(_compile_who(part, table.name, file, warnings) for part in table.who)
    what = None if table.what == "anything" else tuple(compile_what(part) for part in table.what)
    return Rule(table.name, table.effect == "allow", who, what, compile_terms(table.terms), file)


def _compile_who(table: WhoTable, rule: str, file: str, warnings: list[str]) -> Who:
    def unknown(kind: str, name: str) -> None:
        warnings.append(f"{file}: rule {rule}: no {kind} is called {name}")

    uids: list[tuple[int, int]] | None = None
    gids: list[tuple[int, int]] | None = None
    if table.uid is not None or table.user is not None:
        uids = list(table.uid or [])
        for name in table.user or []:
            try:
                uid = pwd.getpwnam(name).pw_uid
            except KeyError:
                unknown("user", name)
            else:
                uids.append((uid, uid))
    if table.gid is not None or table.group is not None:
        gids = list(table.gid or [])
        for name in table.group or []:
            try:
                gid = grp.getgrnam(name).gr_gid
            except KeyError:
                unknown("group", name)
            else:
                gids.append((gid, gid))
    return Who(
        None if uids is None else tuple(uids),
        None if gids is None else tuple(gids),
    )
