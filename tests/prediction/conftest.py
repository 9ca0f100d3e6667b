"""Adds up what the predictions of this run were held against in all its guests, and tells it."""

from __future__ import annotations

import pytest

from tests.prediction.tally import Tally

_TALLY = Tally()
_GUESTS = "test_prediction.py"
_NEEDED = {
    f"{test}[{kernel}-{topology}-prediction]"
    for test, topology in (
        ("test_sets_with_bridges", "reset-sets"),
        ("test_virtual_functions", "sriov"),
    )
    for kernel in ("7.2", "6.12")
}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each guest's tests report what they counted."""
    if report.when == "call":
        for name, data in report.user_properties:
            if name == "prediction" and isinstance(data, dict):
                _TALLY.add(data)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _TALLY.cases:
        terminalreporter.section("hot resets, predicted and true")
        for line in _TALLY.lines():
            terminalreporter.write_line(line)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """The sum of all guests, where this run has those that together reach every cell."""
    names = {item.name for item in request.session.items if item.path.name == _GUESTS}
    if not names >= _NEEDED:
        pytest.skip("not all guests are in this run")
    return _TALLY
