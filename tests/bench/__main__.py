"""Prints the table: ``python -m tests.bench [ROUNDS]``.

All on one CPU, the daemon, its client and the floor: so a ratio tells how much work a call is, and
is little troubled by what other CPUs do. A lease is acquire, release, and the way back until the
devices are free. The host is the simulated one, whose "kernel" is Python and costs most of that.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from isod.kernel.simulated.hosts import STANDARD
from isod.wire.packet import close_all
from tests.walk import policy
from tests.walk.machine import SimulatedMachine
from tests.walk.stage import Stage

from .measure import Meter, Row, measure

_SINGLE, _OTHER = "0000:02:00.0", "0000:01:00.0"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})  # inherited by every process that is started from here
    stage = Stage(_machine, policy.EVERYTHING)
    try:
        stage.start()
        rows = measured(stage, rounds)
    finally:
        stage.close()
    show(rows, cpu)


def _machine(folder: Path) -> SimulatedMachine:
    return SimulatedMachine(folder, STANDARD, {"single": _SINGLE})


def measured(stage: Stage, rounds: int) -> list[Row]:
    """All rows; a lease stands all the while, for lease.get to look at."""
    with stage.line() as line, stage.control.acquire([_OTHER], hand_over="iommufd") as lease:
        meter = Meter(line)
        identity = stage.control.lease(lease.id).id

        def cycle(hand_over: str) -> None:
            said = len(stage.daemon.log)
            wanted = [{"address": f"pci:{_SINGLE}"}]
            granted, fds = meter.call("lease.acquire", devices=wanted, hand_over=hand_over)
            own = granted["lease"]
            meter.call("lease.release", lease=own["id"], secret=own["secret"])
            close_all(fds)  # now: closed earlier, the lease may be over before its release arrives
            # Over when the devices are free again, of which no answer tells.
            stage.daemon.wait_for("lease.ended", f"lease={own['id']} ", after=said)

        looks = {
            "hello": partial(meter.call, "hello", client="bench", protocol=1),
            "lease.get": partial(meter.call, "lease.get", lease=identity),
            "host.devices": partial(meter.call, "host.devices"),
        }
        rows = [measure(name, meter, look, rounds, 1) for name, look in looks.items()]
        for way in ("iommufd", "group", "nodes"):
            few = max(100, rounds // 10)
            rows.append(measure(f"lease, {way}", meter, partial(cycle, way), few, 2))
        return rows


def show(rows: list[Row], cpu: int) -> None:
    table = Table(title=f"µs per call on CPU {cpu}, simulated host, against an echo of that size")
    for name in (
        "call",
        "rounds",
        "bytes",
        "floor p50",
        "p99",
        "isod p50",
        "p99",
        "ratio p50",
        "p99",
    ):
        table.add_column(name, justify="left" if name == "call" else "right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.rounds),
            f"{row.sent} + {row.received}",
            f"{row.floor.median:.1f}",
            f"{row.floor.p99:.1f}",
            f"{row.isod.median:.1f}",
            f"{row.isod.p99:.1f}",
            f"{row.isod.median / row.floor.median:.1f}",
            f"{row.isod.p99 / row.floor.p99:.1f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
