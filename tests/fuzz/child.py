"""One process: ``python -m tests.fuzz.child TARGET RUNS FOLDER CORPUS``. libFuzzer, by atheris.

Exits 0 when nothing was found. A crash, a hang of some seconds, or growth ends it, and leaves the
input in CORPUS.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["isod", "tests.fuzz.targets"]):
    from tests.fuzz.targets import PLANTED, TARGETS

from tests.fuzz.growth import watched

HANG_SECONDS = 5
MEGABYTES = 1024


def main(name: str, runs: str, folder: Path, corpus: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    target = {**PLANTED, **TARGETS}[name]
    for number, seed in enumerate(target.seeds(folder)):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [
        sys.argv[0],
        f"-atheris_runs={runs}",
        f"-max_len={target.longest}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-artifact_prefix={corpus}/",
        "-verbosity=0",
        str(corpus),
    ]
    atheris.Setup(arguments, watched(target.make(folder), int(runs)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
