"""The processes that daemons and clients of these tests are forked from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.walk.borrowers import Borrowers, borrowers_ready
from tests.walk.moments import SEED

from .launcher import Launcher, launcher_ready


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    with launcher_ready() as ready:
        yield ready


@pytest.fixture(scope="session")
def borrowers() -> Iterator[Borrowers]:
    with borrowers_ready() as ready:
        yield ready


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The seed, so that a run can be had again."""
    terminalreporter.write_line(f"kill matrix: ISOD_SEED={SEED} repeats this run's kills")
