"""The contract suite: its assertions in cases, and what it says at the end of a run."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

pytest.register_assert_rewrite(
    "tests.contract.acts",
    "tests.contract.cases.binding",
    "tests.contract.cases.fencing",
    "tests.contract.cases.granting",
    "tests.contract.cases.handing",
    "tests.contract.cases.opening",
    "tests.contract.cases.probing",
    "tests.contract.cases.scanning",
    "tests.contract.cases.watching",
)

_SUITE = "tests/contract/test_"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cases ran where, and why those did not that could not."""
    ran: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if isinstance(report, pytest.TestReport) and report.nodeid.startswith(_SUITE):
                where = _where(report.nodeid)
                ran[where][outcome] += 1
                if outcome == "skipped" and isinstance(report.longrepr, tuple):
                    reasons[where][report.longrepr[2].removeprefix("Skipped: ")] += 1
    if not ran:
        return
    terminalreporter.section("contract: one suite, every kernel")
    for where, outcomes in sorted(ran.items()):
        numbers = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        terminalreporter.write_line(f"{where:>22}: {numbers}")
        for reason, count in sorted(reasons[where].items()):
            terminalreporter.write_line(f"{'':>22}  {count} cannot: {reason}")


def _where(node: str) -> str:
    if node.startswith(f"{_SUITE}simulated"):
        return "simulated"
    return "linux " + node.rpartition("[")[2].removesuffix("]")
