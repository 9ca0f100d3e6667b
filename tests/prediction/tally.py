"""Counts what was tried, by row of the table and hand-over, and tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isod.core.reset_table import TABLE
from isod.model.reset import Claim, MemberState

COLUMNS = (Claim.group_here, Claim.group_not_here, Claim.given, Claim.withheld)
_HEADS = ("cdev: here", "cdev: not here", "fd passed", "not passed")
ALONE = "alone in its set"
BESIDE = "on the same bus, but not in the set"
NOT_OPENED = "kernel driver in the caller's own group: cannot be opened"
NOT_ISOLATED = "the platform does not isolate MSIs: cannot be opened"


@dataclass
class Tally:
    """``cells`` by row and column; ``succeeded`` of the ``permitted`` went well."""

    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    cases: int = 0
    permitted: int = 0
    succeeded: int = 0
    mismatches: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        return {
            "cells": [[row, column, count] for (row, column), count in self.cells.items()],
            "cases": self.cases,
            "permitted": self.permitted,
            "succeeded": self.succeeded,
            "mismatches": self.mismatches,
        }

    def add(self, data: Mapping[str, Any]) -> None:
        for row, column, count in data["cells"]:
            self.cells[row, column] += count
        self.cases += data["cases"]
        self.permitted += data["permitted"]
        self.succeeded += data["succeeded"]
        self.mismatches += data["mismatches"]

    def lines(self) -> Iterable[str]:
        """The table: cases per row and column; a dash where such a state cannot be."""
        yield f"{'the other function is':<58}" + "".join(f"{head:>16}" for head in _HEADS)
        for state in MemberState:
            shown = (self._cell(state, column) for column in COLUMNS)
            yield f"{state.value:<58}" + "".join(f"{cell:>16}" for cell in shown)
        for row in (ALONE, BESIDE, NOT_OPENED, NOT_ISOLATED):
            here, passed = (self.cells[row, column] for column in ("iommufd", "group"))
            yield f"{row:<58}{here:>16}{'':>16}{passed:>16}"
        yield (
            f"{self.cases} cases; {self.permitted} permitted, {self.succeeded} of them succeeded; "
            f"mismatches {len(self.mismatches)}"
        )
        yield from self.mismatches

    def _cell(self, state: MemberState, column: Claim) -> str:
        count = self.cells[state.value, column.value]
        return "-" if not count and TABLE[state, column] == "cannot be" else str(count)
