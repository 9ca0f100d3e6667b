"""A sample of ``make fuzz``: no crash, no hang, no growth in 100,000 inputs for each target."""

from __future__ import annotations

import pytest

from .run import fuzz
from .targets import TARGETS

RUNS = 100_000
MEGABYTES = 300

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", TARGETS)
def test_finds_nothing(target: str) -> None:
    outcome = fuzz(target, RUNS)
    assert not outcome.found, outcome.output
    assert outcome.executions >= RUNS, outcome.output
    assert outcome.megabytes < MEGABYTES, outcome.output
    print(f"{target}: {outcome.executions} inputs, {outcome.megabytes} MiB at most")


def test_would_find_something() -> None:
    """A target that fails on one byte: the fuzzer gets there, and says so."""
    outcome = fuzz("planted", RUNS)
    assert outcome.found
    assert "the planted fault" in outcome.output
