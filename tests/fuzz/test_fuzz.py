"""A sample of ``make fuzz``: no crash, no hang, no growth in 100,000 inputs for most targets, and
a part of that for the others."""

from __future__ import annotations

import pytest

from .run import fuzz
from .targets import PLANTED, TARGETS

MEGABYTES = 300

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", TARGETS)
def test_finds_nothing(target: str) -> None:
    runs = TARGETS[target].runs
    outcome = fuzz(target, runs)
    assert not outcome.found, outcome.output
    assert outcome.executions >= runs, outcome.output
    assert outcome.megabytes < MEGABYTES, outcome.output
    assert not outcome.leaks, f"{outcome.grown} KiB more, {outcome.allowed} may be"
    print(f"{target}: {outcome.executions} inputs, {outcome.megabytes} MiB at most")


def test_would_find_something() -> None:
    """A target that fails on one byte: the fuzzer gets there, and says so."""
    outcome = fuzz("planted-fault", PLANTED["planted-fault"].runs)
    assert outcome.found
    assert "the planted fault" in outcome.output


def test_would_find_a_leak() -> None:
    """A target that keeps 1 KiB of each input: nothing that a peak of memory would show."""
    outcome = fuzz("planted-leak", PLANTED["planted-leak"].runs)
    assert not outcome.found, outcome.output
    assert outcome.leaks
    assert outcome.megabytes < MEGABYTES
