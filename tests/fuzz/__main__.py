"""``python -m tests.fuzz [RUNS [TARGET…]]``: so many inputs for each target; exits 1 if one failed
or leaks.

What was found is kept, and later runs begin with it, in ``~/.cache/isod-fuzz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .run import fuzz
from .targets import TARGETS

CORPORA = Path.home() / ".cache" / "isod-fuzz"


def main(arguments: list[str]) -> int:
    runs = int(arguments[0]) if arguments else 1_000_000
    failed = []
    for name in arguments[1:] or list(TARGETS):
        print(f"{name:<14} {runs:>10,} inputs …", flush=True)
        outcome = fuzz(name, runs, CORPORA / name)
        print(f"{'':<14} {outcome.executions:>10,} done, {outcome.megabytes} MiB at most")
        if outcome.grown is not None:
            print(f"{'':<14} {outcome.grown:>10,} KiB more than after a fifth of them")
        if outcome.found or outcome.leaks:
            failed.append(name)
            print(outcome.output)
    print(f"found: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
