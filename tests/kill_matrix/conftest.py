"""The processes that daemons and clients of these tests are forked from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.walk.borrowers import Borrowers, borrowers_ready
from tests.walk.moments import SEED

from .launcher import Launcher, launcher_ready
from .part import TALLY, Part
from .tally import tell

# By the file of the tests.
_TALLIES: dict[str, list[Mapping[str, Any]]] = {}


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    with launcher_ready() as ready:
        yield ready


@pytest.fixture(scope="session")
def borrowers() -> Iterator[Borrowers]:
    with borrowers_ready() as ready:
        yield ready


@pytest.fixture
def part(
    launcher: Launcher, borrowers: Borrowers, record_property: Callable[[str, object], None]
) -> Part:
    return Part(launcher, borrowers, record_property)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each walk's test reports what it came to, from wherever it runs."""
    if report.when == "call":
        module = report.nodeid.partition("::")[0].rpartition("/")[2]
        for name, told in report.user_properties:
            if name == TALLY and isinstance(told, dict):
                _TALLIES.setdefault(module, []).append(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was reached, and the seed, so that a run can be had again."""
    for module, tallies in sorted(_TALLIES.items()):
        terminalreporter.section(f"kill matrix, {module}")
        for line in tell(tallies):
            terminalreporter.write_line(line)
    terminalreporter.write_line(f"kill matrix: ISOD_SEED={SEED} repeats this run's kills")
