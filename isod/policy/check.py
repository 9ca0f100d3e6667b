"""A policy looked through without being used: faults, and what is odd though no fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isod.core.compile import LookUp
from isod.core.hidden import hidden_rules
from isod.model.policy import Policy

from .folder import PolicyError, files, load


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a policy: the file's basename, the place in it (may be empty), and what."""

    file: str
    place: str
    what: str

    @classmethod
    def parse(cls, line: str) -> Finding:
        """Of a line of the loader: ``file: place: what``, where the place may be missing."""
        file, _, rest = line.partition(": ")
        place, separator, what = rest.partition(": ")
        return cls(file, place, what) if separator else cls(file, "", rest)


@dataclass(frozen=True, slots=True)
class Report:
    """What was read, and what was found. With faults there is no policy."""

    files: tuple[Path, ...]
    faults: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    policy: Policy | None = None


def check(places: Sequence[Path], names: LookUp | None = None) -> Report:
    """Load as the daemon does (blocking), and look for rules that can never decide."""
    found = files(places)
    try:
        policy = load(places, 1, names)
    except PolicyError as error:
        return Report(found, faults=tuple(map(Finding.parse, error.problems)))
    warnings = (*map(Finding.parse, policy.warnings), *_hidden(policy))
    return Report(found, warnings=warnings, policy=policy)


def _hidden(policy: Policy) -> Iterator[Finding]:
    for rule, earlier in hidden_rules(policy):
        what = f"never decides: rule {earlier.name} ({earlier.file}) matches all that it would"
        yield Finding(rule.file, f"rule {rule.name}", what)
