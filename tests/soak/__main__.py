"""``python -m tests.soak [OPERATIONS] [CLIENTS]``: a million and 200, unless it is told.

``ISOD_SEED`` repeats what was drawn; what came of it depends on who was faster.
"""

from __future__ import annotations

import os
import sys
from random import SystemRandom

from .soak import Soak

DEFAULTS = ("1000000", "200")
_RESTS = 20


def main() -> None:
    operations, clients = (int(word) for word in [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]])
    seed = int(os.environ.get("ISOD_SEED") or SystemRandom().randrange(10**9))
    print(f"{operations} operations of {clients} clients, ISOD_SEED={seed}", flush=True)
    soak = Soak(clients, seed, lambda line: print(line, flush=True))
    soak.run(operations, _RESTS)
    for counts in (soak.totals, soak.records):
        for name, count in sorted(counts.items()):
            print(f"{name:>30} {count}")


if __name__ == "__main__":
    main()
