"""Tells what the predictions of this run, of all guests together, were held against."""

from __future__ import annotations

import pytest

from tests.prediction.tally import Tally


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tally = Tally()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, data in report.user_properties:
                    if name == "prediction":
                        tally.add(data)
    if tally.cases:
        terminalreporter.section("hot resets, predicted and true")
        for line in tally.lines():
            terminalreporter.write_line(line)
