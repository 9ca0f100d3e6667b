"""Collects what the guests played, and tells it at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from .enough import OPERATIONS
from .recording import Recording

PLAYERS = "test_the_real_kernel_plays"
_RECORDINGS: dict[str, Recording] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each guest's test reports what it played."""
    if report.when == "call":
        for name, data in report.user_properties:
            if name == "differential" and isinstance(data, dict):
                where = report.nodeid.rpartition("[")[2].removesuffix("]")
                _RECORDINGS[where] = Recording.from_data(data)


@pytest.fixture
def recordings(request: pytest.FixtureRequest) -> Mapping[str, Recording]:
    """What the guests of this run played; nothing to judge only if none was to play."""
    players = [item for item in request.session.items if PLAYERS in item.nodeid]
    if not _RECORDINGS and not players:
        pytest.skip("no guest was to play anything in this run")
    return _RECORDINGS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _RECORDINGS:
        return
    terminalreporter.section("simulated and real: the same sequences on both")
    total: Counter[str] = Counter()
    succeeded: Counter[str] = Counter()
    for where, recording in sorted(_RECORDINGS.items()):
        answers = recording.answers()
        total.update(answers)
        succeeded.update(recording.successes())
        base = next(iter(recording.outcomes)).partition("/")[0]
        terminalreporter.write_line(
            f"{where}: {len(recording.outcomes)} sequences, {answers.total()} operations in "
            f"{recording.seconds:.0f} s, ISOD_SEED={base}"
        )
    sequences = sum(len(recording.outcomes) for recording in _RECORDINGS.values())
    terminalreporter.write_line(
        f"{sequences} sequences, {total.total()} operations, {len(total)} kinds of answers"
    )
    words = [f"{operation} {succeeded[operation]}" for operation in OPERATIONS]
    terminalreporter.write_line(f"of these succeeded: {', '.join(words)}")
