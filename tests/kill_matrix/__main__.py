"""``python -m tests.kill_matrix [--jobs N] [WALK…]``: the whole matrix on the simulated host.

Prints for each walk the n that was reached, and exits 1 if anything was not as it has to be.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
from collections.abc import Sequence

from tests.walk.moments import SEED

from .matrix import Row, every_call, every_recovery_call, table
from .pool import pool_of
from .run import Outcome
from .tap import Victim
from .walks import WALKS

_WITH_HELPER: tuple[Victim, ...] = ("helper", "both")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill_matrix")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("walks", nargs="*", metavar="WALK", help=", ".join(WALKS))
    options = parser.parse_args(arguments)
    # Ended by a signal it ends its workers, too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    rows: list[Row] = []
    print(f"ISOD_SEED={SEED} repeats which recoveries are killed", flush=True)
    with pool_of(options.jobs) as pool:
        for walk in options.walks or WALKS:
            chance = random.Random(f"{SEED} {walk}")
            row = every_call(pool, walk, "daemon", _tell)
            found = [row]
            if any(outcome.helper_calls for outcome in row.hit.values()):
                found += [every_call(pool, walk, victim, _tell) for victim in _WITH_HELPER]
            if row.hit:
                found.append(every_recovery_call(pool, walk, row.hit, chance, _tell))
            for one in found:
                print(
                    f"{one.name}: {one.reached} reached, {len(one.violations)} violations, "
                    f"{one.seconds:.0f} s",
                    flush=True,
                )
            rows += found
    print(table(rows))
    return 1 if any(row.violations for row in rows) else 0


def _tell(outcome: Outcome) -> None:
    if outcome.violation is not None:
        print(f"{outcome.kill}, which was {outcome.killed}; {outcome.killed_again}", flush=True)
        print(outcome.violation, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
