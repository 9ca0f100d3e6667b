"""Stages and client processes for the walks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from isod.kernel.simulated.hosts import STANDARD
from isod.kernel.simulated.topology import SimulatedHost
from tests.lab.selection import guest_here

from . import policy
from .borrowers import Borrower, Borrowers, borrowers_ready
from .machine import STANDARD_SHAPES, LinuxMachine, Machine, SimulatedMachine
from .moments import SEED
from .stage import Stage

Raise = Callable[..., Stage]
Start = Callable[..., Borrower]


def _machine(folder: Path, host: SimulatedHost = STANDARD) -> Machine:
    """The guest, where the test runs in one; else a simulated host."""
    return LinuxMachine() if guest_here() else SimulatedMachine(folder, host, STANDARD_SHAPES)


@pytest.fixture(scope="session")
def borrowers() -> Iterator[Borrowers]:
    with borrowers_ready() as ready:
        yield ready


@pytest.fixture
def borrower(borrowers: Borrowers) -> Iterator[Start]:
    """Starts client processes, which end with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(borrowers.start(**options))


@pytest.fixture(scope="module")
def _shared(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A file of tests may name its own policy: RULES."""
    stage = Stage(_machine, getattr(request.module, "RULES", policy.EVERYTHING))
    stage.start()
    yield stage
    stage.close()


@pytest.fixture
def stage(_shared: Stage) -> Iterator[Stage]:
    """A stage whose daemon runs through the tests of a file; each test leaves it as it was."""
    yield _shared
    _shared.until_quiet()


@pytest.fixture
def raised() -> Iterator[Raise]:
    """Makes stages of the test's own, with the daemon running."""
    with ExitStack() as stack:

        def raise_stage(
            host: SimulatedHost = STANDARD,
            rules: str = policy.EVERYTHING,
            *,
            managed: bool = False,
        ) -> Stage:
            stage = Stage(lambda folder: _machine(folder, host), rules, managed=managed)
            stack.callback(stage.close)
            stage.start()
            return stage

        yield raise_stage


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The seed, so that a run can be had again."""
    terminalreporter.write_line(f"walks: ISOD_SEED={SEED} repeats this run's moments")
