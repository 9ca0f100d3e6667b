"""Counts what was tried on one kernel, by row of the table and hand-over, and tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from string import ascii_lowercase
from typing import Any

from isod.model.reset import Claim, MemberState
from tests.prediction.absent import BESIDE_THE_TABLE, COLUMNS, absent, absent_beside

_BY = ("iommufd", "group")
_HEADS = ("cdev: here", "cdev: not here", "fd passed", "not passed")


@dataclass
class Tally:
    """What was tried on a kernel. ``cells`` by row and column: cases, and in ``well`` those whose
    reset succeeded, too.
    ``cdevs``: the kernel has device nodes and iommufd. ``apart``: what was not tried, and why."""

    kernel: str
    cdevs: bool
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    well: Counter[tuple[str, str]] = field(default_factory=Counter)
    cases: int = 0
    permitted: int = 0
    apart: Counter[str] = field(default_factory=Counter)
    mismatches: list[str] = field(default_factory=list)

    def count(self, row: str, column: str, *, permitted: bool, succeeded: bool) -> None:
        self.cases += 1
        self.permitted += permitted
        self.cells[row, column] += 1
        self.well[row, column] += succeeded

    def as_data(self) -> dict[str, Any]:
        return {
            "kernel": self.kernel,
            "cdevs": self.cdevs,
            "cells": [[*cell, count, self.well[cell]] for cell, count in self.cells.items()],
            "cases": self.cases,
            "permitted": self.permitted,
            "apart": dict(self.apart),
            "mismatches": self.mismatches,
        }

    def add(self, data: Mapping[str, Any]) -> None:
        """Add what another test counted on the same kernel."""
        for row, column, count, well in data["cells"]:
            self.cells[row, column] += count
            self.well[row, column] += well
        self.cases += data["cases"]
        self.permitted += data["permitted"]
        self.apart.update(data["apart"])
        self.mismatches += data["mismatches"]

    def empty(self) -> list[str]:
        """The cells that can be and that no case was in."""
        return [
            f"{row}, {column}"
            for row, column in (*product(MemberState, COLUMNS), *product(BESIDE_THE_TABLE, _BY))
            if self._absent(row, column) is None and not self.cells[row, column]
        ]

    def _absent(self, row: str, column: str) -> str | None:
        if isinstance(row, MemberState) and isinstance(column, Claim):
            return absent(row, column, cdevs=self.cdevs)
        return absent_beside(row, column, kernel=self.kernel, cdevs=self.cdevs)

    def lines(self) -> Iterator[str]:
        """The table: cases, and in how many of them the reset succeeded; a letter where such a
        state cannot be, with its reason below."""
        reasons: dict[str, str] = {}
        yield f"{f'on {self.kernel}, the other function is':<58}" + "".join(
            f"{head:>16}" for head in _HEADS
        )
        for state in MemberState:
            shown = (self._cell(state, column, reasons) for column in COLUMNS)
            yield f"{state.value:<58}" + "".join(f"{cell:>16}" for cell in shown)
        for row in BESIDE_THE_TABLE:
            here, passed = (self._cell(row, by, reasons) for by in _BY)
            yield f"{row:<58}{here:>16}{'':>16}{passed:>16}"
        yield "cases (ok: in how many of them the reset succeeded, too); a letter: cannot be, since"
        yield from (f"  {letter}: {reason}" for reason, letter in reasons.items())
        for what, count in sorted(self.apart.items()):
            yield f"not a caller ({count}): {what}"
        yield (
            f"{self.cases} cases; {self.permitted} permitted, {self.well.total()} of them "
            f"succeeded; mismatches {len(self.mismatches)}"
        )
        yield from self.mismatches

    def _cell(self, row: str, column: str, reasons: dict[str, str]) -> str:
        """A letter for each reason; what came about nevertheless is shown."""
        reason, count = self._absent(row, column), self.cells[row, column]
        if reason is not None and not count:
            return reasons.setdefault(reason, ascii_lowercase[len(reasons)])
        well = self.well[row, column]
        return f"{count} ({well} ok)" if well else str(count)
