"""The table of threats is covered: a test and a mutation for each of its rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutations.__main__ import PATCHES, ROOT, Mutation

from .rows import ROWS

HERE = Path(__file__).parent
_TEST = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)


def named_after(row: str) -> set[str]:
    """The tests of a row: ``FILE::NAME``."""
    name = f"test_{row}"
    return {
        f"{path.relative_to(ROOT)}::{found}"
        for path in HERE.rglob("test_*.py")
        for found in _TEST.findall(path.read_text())
        if found == name or found.startswith(f"{name}_")
    }


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_a_test_and_a_mutation_that_it_notices(row: str) -> None:
    tests = named_after(row)
    assert tests, f"no test is called test_{row}"
    patch = PATCHES / f"threat-{row.replace('_', '-')}.patch"
    assert tests & set(Mutation.read(patch).noticed_by), f"{patch.name} names no test of its row"


def test_every_test_here_belongs_to_a_row() -> None:
    ours = {
        f"{path.relative_to(ROOT)}::{found}"
        for path in HERE.glob("test_*.py")
        for found in _TEST.findall(path.read_text())
        if path != Path(__file__)
    }
    assert ours == ours & {test for row in ROWS for test in named_after(row)}


def test_every_mutation_of_a_threat_belongs_to_a_row() -> None:
    rows = {row.replace("_", "-") for row in ROWS}
    assert {path.stem.removeprefix("threat-") for path in PATCHES.glob("threat-*.patch")} == rows
