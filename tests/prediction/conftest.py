"""Adds up what the predictions of this run were held against in all its guests, and tells it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.prediction.guests import guests
from tests.prediction.tally import Tally

_TALLIES: dict[str, Tally] = {}
_GUESTS = "test_prediction.py"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each guest's tests report what they counted."""
    if report.when == "call":
        for name, data in report.user_properties:
            if name == "prediction" and isinstance(data, dict):
                new = Tally(data["kernel"], data["cdevs"])
                _TALLIES.setdefault(new.kernel, new).add(data)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kernel in sorted(_TALLIES):
        terminalreporter.section(f"hot resets, predicted and true on {kernel}")
        for line in _TALLIES[kernel].lines():
            terminalreporter.write_line(line)


@pytest.fixture
def tallies(request: pytest.FixtureRequest) -> Mapping[str, Tally]:
    """The sum of all guests of each kernel, where this run has those that together reach every
    cell: skips where some were left out of it."""
    here = {item.name for item in request.session.items if item.path.name == _GUESTS}
    if not here >= {f"{test}[{guest}]" for test, guest in guests()}:
        pytest.skip("not all guests are in this run")
    return _TALLIES
