"""What a flood costs others: ``python -m tests.bench.flood [ROUNDS [KIND…]]``.

The daemon and a well-behaved client are on one CPU, all attackers (attacker.py) on another. The
client's calls are measured in turns while the attackers stand still and while they flood; the
ratios are of the same run. Beside them: how much memory the daemon has gained, and its most fds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import sleep

from rich.console import Console
from rich.table import Table

from isod.kernel.simulated.hosts import STANDARD
from isod.wire.packet import close_all
from tests.walk import policy
from tests.walk.machine import SimulatedMachine
from tests.walk.stage import Stage

from .attacker import KINDS
from .measure import Meter, timed, times

_SINGLE = "0000:02:00.0"
_TURNS = 5
# Until what was stopped or let go has settled: a bench may sleep.
_SETTLE_SECONDS = 1.0


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    kinds: list[tuple[str, ...]] = [(kind,) for kind in sys.argv[2:] or KINDS]
    if len(kinds) > 1:
        kinds.append(tuple(kind for kind in KINDS if kind != "nobody"))
    own, others = (sorted(os.sched_getaffinity(0))[-2:] * 2)[:2]
    os.sched_setaffinity(0, {own})  # inherited by the daemon
    stage = Stage(lambda folder: SimulatedMachine(folder, STANDARD, {"single": _SINGLE}), RULES)
    table = Table(title="a well-behaved client, µs per call, while others flood")
    for name in ("attackers", "call", "calm p50", "p99", "flood p50", "p99", "ratio p50", "p99"):
        table.add_column(name, justify="left" if name in ("attackers", "call") else "right")
    table.add_column("memory", justify="right")
    table.add_column("most fds", justify="right")
    try:
        stage.start()
        for chosen in kinds:
            measure(stage, chosen, rounds, others, table)
    finally:
        stage.close()
    Console(width=120).print(table)


RULES = policy.EVERYTHING


def measure(stage: Stage, kinds: tuple[str, ...], rounds: int, cpu: int, table: Table) -> None:
    """One row for each call, while attackers of these kinds flood."""
    with stage.line() as line:
        meter = Meter(line)
        calls: dict[str, Callable[[], object]] = {
            "host.info": partial(meter.call, "host.info"),
            "lease": partial(cycle, stage, meter),
        }
        # A connection is thrown out that says nothing at first.
        for call in calls.values():
            for _ in range(50):
                call()
        before = stage.daemon.resident
        most = 0
        calm: dict[str, list[int]] = {name: [] for name in calls}
        flooded: dict[str, list[int]] = {name: [] for name in calls}
        with attackers(kinds, stage.socket, cpu) as flood:
            for _ in range(_TURNS):
                for found, going in ((calm, False), (flooded, True)):
                    flood(going)
                    for name, call in calls.items():
                        count = rounds if name == "host.info" else rounds // 10
                        for _ in range(max(1, count // _TURNS // 50)):
                            found[name] += timed(call)
                most = max(most, stage.daemon.fds().total())
        grown = stage.daemon.resident - before
    for name in calls:
        one, other = times(calm[name]), times(flooded[name])
        table.add_row(
            " + ".join(kinds),
            name,
            *(f"{value:.0f}" for value in (one.median, one.p99, other.median, other.p99)),
            f"{other.median / one.median:.2f}",
            f"{other.p99 / one.p99:.2f}",
            f"{grown / (1 << 20):+.1f} MiB",
            str(most),
        )


def cycle(stage: Stage, meter: Meter) -> None:
    """Acquire and release; over when the devices are free again."""
    said = len(stage.daemon.log)
    wanted = [{"address": f"pci:{_SINGLE}"}]
    granted, fds = meter.call("lease.acquire", devices=wanted, hand_over="iommufd")
    close_all(fds)
    own = granted["lease"]
    meter.call("lease.release", lease=own["id"], secret=own["secret"])
    stage.daemon.wait_for("lease.ended", f"lease={own['id']} ", after=said)


@contextmanager
def attackers(kinds: tuple[str, ...], socket: Path, cpu: int) -> Iterator[Callable[[bool], None]]:
    """Processes that flood when told so, and stand still when not."""
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.bench.attacker"),
                *(kind, str(socket), str(62_000 + 100 * index), str(cpu)),
            ],
            start_new_session=True,
        )
        for index, kind in enumerate(kinds)
    ]

    def flood(going: bool) -> None:
        for process in processes:
            os.killpg(process.pid, signal.SIGCONT if going else signal.SIGSTOP)
        sleep(_SETTLE_SECONDS)
        assert all(process.poll() is None for process in processes), "an attacker gave up"

    try:
        sleep(_SETTLE_SECONDS)
        yield flood
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
