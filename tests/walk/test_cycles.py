"""A thousand leases leave nothing behind: what the daemon holds is what it held after the tenth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import pytest

from .stage import Stage

CYCLES = 1000
# What Python's and C's allocators keep comes in steps of a megabyte, and the table of interned
# strings grows once with the names of simulated open files: 3 MiB after 1,000 and after 4,500
# leases. A leak of 2 KiB a lease comes on top of that.
TOLERANCE = 5 << 20
HandOver = Literal["iommufd", "group", "nodes"]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a daemon at rest has."""

    fds: Counter[str]
    threads: int
    children: int
    resident: int


def holdings(stage: Stage) -> Holdings:
    """Looked at when nothing changes any more: the watcher may still look at a device."""
    daemon = stage.daemon
    seen = [daemon.fds()]

    def at_rest() -> bool:
        seen.append(daemon.fds())
        return len(seen) > 8 and all(one == seen[-1] for one in seen[-8:])

    daemon.until(at_rest, "its files keep changing")
    return Holdings(seen[-1], daemon.threads, len(daemon.children()), daemon.resident)


def run_cycles(stage: Stage, cycles: int) -> tuple[Holdings, Holdings]:
    """Lease and end so many times, each hand-over in turn; what is held after ten and in the
    end."""
    single = stage.machine.device("single")
    ways = get_args(HandOver)
    after_ten = holdings(stage)
    for cycle in range(1, cycles + 1):
        hand_over: HandOver = ways[cycle % len(ways)]
        said = len(stage.daemon.log)
        with stage.control.acquire([single], hand_over=hand_over) as lease:
            if cycle % 2:
                lease.release()
        stage.daemon.wait_for("lease.ended", after=said)
        if cycle == 10:
            after_ten = holdings(stage)
    return after_ten, holdings(stage)


@pytest.mark.slow
def test_a_thousand_cycles(
    stage: Stage, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    after_ten, in_the_end = run_cycles(stage, CYCLES)
    grown = in_the_end.resident - after_ten.resident
    with capsys.disabled():
        print(
            f"\n{CYCLES} cycles: {in_the_end.fds.total()} fds, {in_the_end.threads} threads, "
            f"{in_the_end.children} children, {in_the_end.resident >> 10} KiB ({grown >> 10:+} KiB)"
        )
    record_property("resident_growth", grown)
    assert in_the_end.fds == after_ten.fds
    assert in_the_end.threads <= after_ten.threads
    assert in_the_end.children == after_ten.children
    assert grown <= TOLERANCE


def test_refused_and_failed_calls_leave_nothing(stage: Stage) -> None:
    """The same for what is refused, malformed, or hangs up at once."""
    wanted = [{"address": "pci:0000:77:00.0"}]

    def hundred() -> None:
        for _ in range(100):
            with stage.line() as line:
                line.ask("lease.acquire", devices=wanted)
                line.ask("no.such.method")
                line.send("[")
        stage.until_quiet()

    hundred()
    before = holdings(stage)
    for _ in range(3):
        hundred()
    after = holdings(stage)
    assert after.fds == before.fds
    assert after.children == before.children
    assert after.resident - before.resident <= TOLERANCE
