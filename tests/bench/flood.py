"""What a flood costs others: ``python -m tests.bench.flood [ROUNDS [KIND…]]``, or make flood.

The daemon and a well-behaved client are on one CPU, all attackers (attacker.py) on another. The
client's calls are measured in turns while the attackers stand still and while they flood; the
ratios are of the same run. Beside them: how much memory the daemon has gained at its peak, and its
most fds. Exits 1 if anything is over what it may be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import sleep

from rich.console import Console
from rich.table import Table

from isod.daemon import ring
from isod.kernel.simulated.hosts import STANDARD
from isod.model.policy import Limits
from isod.wire.packet import close_all
from tests.walk import policy
from tests.walk.machine import SimulatedMachine
from tests.walk.stage import Stage

from .attacker import KINDS, UNLAWFUL, users
from .cost import GROWTH, Cost, fds_allowed
from .measure import Meter, Times, timed, times
from .raid import raid

_SINGLE = "0000:02:00.0"
_TURNS = 5
# Until what was stopped or let go has settled: a bench may sleep.
_SETTLE_SECONDS = 1.0
_LEASES_KEPT = ring.EVENTS // 3 + 1  # each lease is granted, drains and ends
_MEDIAN, _P99 = 1.5, 3.0
_WORDS = ("attackers", "call", "over")
_TIMES = ("calm p50", "p99", "flood p50", "p99", "ratio p50", "p99")
_COLUMNS = (*_WORDS[:2], *_TIMES, "memory", "fds", "of", _WORDS[2])
Calls = Mapping[str, Callable[[], object]]


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    kinds: list[tuple[str, ...]] = [(kind,) for kind in sys.argv[2:] or KINDS]
    if len(kinds) > 1:
        kinds.append(tuple(kind for kind in KINDS if kind in UNLAWFUL))
    own, others = (sorted(os.sched_getaffinity(0))[-2:] * 2)[:2]
    os.sched_setaffinity(0, {own})  # inherited by the daemon
    rows: list[Row] = []
    stage = Stage(_machine, policy.EVERYTHING)
    try:
        stage.start()
        with stage.line() as line:
            calls = _calls(stage, Meter(line))
            # What is done once is done now, and all events are there that a daemon keeps: they are
            # no growth of a flood's.
            for call in calls.values():
                for _ in range(_LEASES_KEPT):
                    call()
            cost = Cost(stage.daemon)
            for one in kinds:
                rows += measure(stage, calls, one, rounds, others, cost)
    finally:
        stage.close()
    show(rows)
    return 1 if any(row.over for row in rows) else 0


def _machine(folder: Path) -> SimulatedMachine:
    return SimulatedMachine(folder, STANDARD, {"single": _SINGLE})


def _calls(stage: Stage, meter: Meter) -> Calls:
    return {"host.info": partial(meter.call, "host.info"), "lease": partial(cycle, stage, meter)}


@dataclass(frozen=True, slots=True)
class Row:
    """A call while others flood. ``grown`` is in bytes, since the beginning of all."""

    attackers: tuple[str, ...]
    call: str
    calm: Times
    flooded: Times
    grown: int
    fds: int
    fds_allowed: int

    @property
    def over(self) -> list[str]:
        """What is over its line. Who asks as it may, and is answered, may make others wait."""
        asking = "asking" in self.attackers
        lines = {
            "median": not asking and self.flooded.median / self.calm.median > _MEDIAN,
            "p99": not asking and self.flooded.p99 / self.calm.p99 > _P99,
            "memory": self.grown > GROWTH,
            "fds": self.fds > self.fds_allowed,
        }
        return [name for name, over in lines.items() if over]


def measure(
    stage: Stage, calls: Calls, kinds: tuple[str, ...], rounds: int, cpu: int, cost: Cost
) -> list[Row]:
    """One row for each call, while attackers of these kinds flood."""
    cost.begin()
    calm: dict[str, list[int]] = {name: [] for name in calls}
    flooded: dict[str, list[int]] = {name: [] for name in calls}
    with raid(kinds, stage.socket, cpu) as raiders:
        sleep(_SETTLE_SECONDS)
        for _ in range(_TURNS):
            for found, going in ((calm, False), (flooded, True)):
                raiders.flood(going)
                sleep(_SETTLE_SECONDS)
                assert raiders.alive, "an attacker gave up"
                for name, call in calls.items():
                    count = rounds if name == "host.info" else rounds // 10
                    for _ in range(max(1, count // _TURNS // 50)):
                        found[name] += timed(call)
                        cost.look()
    allowed = fds_allowed(cost.own_fds, sum(map(users, kinds)), Limits())
    return [
        Row(kinds, name, times(calm[name]), times(flooded[name]), cost.grown, cost.fds, allowed)
        for name in calls
    ]


def show(rows: Sequence[Row]) -> None:
    table = Table(title="a well-behaved client, µs per call, while others flood")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _WORDS else "right")
    for row in rows:
        calm, flooded = row.calm, row.flooded
        table.add_row(
            *(" + ".join(row.attackers), row.call),
            *(f"{value:.0f}" for value in (calm.median, calm.p99, flooded.median, flooded.p99)),
            f"{flooded.median / calm.median:.2f}",
            f"{flooded.p99 / calm.p99:.2f}",
            f"{row.grown / 1e6:+.1f} MB",
            *(str(row.fds), str(row.fds_allowed)),
            ", ".join(row.over) or "-",
        )
    console = Console(width=132)
    console.print(table)
    console.print(
        f"over is a median of more than {_MEDIAN} times, a p99 of more than {_P99:g} times, "
        f"{GROWTH / 1e6:g} MB more than at first, or more fds than the limits make.\n"
        "Where nobody attacks and a time is over, it is the machine that is not quiet."
    )


def cycle(stage: Stage, meter: Meter) -> None:
    """Acquire and release; over when the devices are free again."""
    said = len(stage.daemon.log)
    wanted = [{"address": f"pci:{_SINGLE}"}]
    granted, fds = meter.call("lease.acquire", devices=wanted, hand_over="iommufd")
    own = granted["lease"]
    meter.call("lease.release", lease=own["id"], secret=own["secret"])
    close_all(fds)  # now: closed earlier, the lease may be over before its release arrives
    stage.daemon.wait_for("lease.ended", f"lease={own['id']} ", after=said)


if __name__ == "__main__":
    sys.exit(main())
