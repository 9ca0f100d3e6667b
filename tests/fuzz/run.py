"""Runs fuzzing processes and reads what they say in the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .growth import allowed, grown

_TMPFS = Path("/dev/shm")
_FOUND = re.compile(r"(crash|timeout|oom|leak)-")
_DONE = re.compile(r"^Done (\d+) in", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. ``executions`` counts inputs; ``megabytes`` is the peak of memory, and
    ``grown`` by how many KiB it grew after the first fifth of them (None: it did not get there);
    ``allowed`` is how many it may."""

    found: bool
    executions: int
    megabytes: int
    grown: int | None
    allowed: int
    output: str

    @property
    def leaks(self) -> bool:
        return self.grown is None or self.grown > self.allowed


def fuzz(target: str, runs: int, corpus: Path | None = None) -> Outcome:
    """Fuzz one target for so many inputs. What is found stays in ``corpus``, if one is named."""
    with tempfile.TemporaryDirectory(prefix="isod-fuzz-", dir=_TMPFS) as name:
        folder = Path(name)
        inputs = corpus or folder / "corpus"
        inputs.mkdir(parents=True, exist_ok=True)
        before = set(inputs.iterdir())
        command = [sys.executable, "-m", "tests.fuzz.child", target, str(runs), name, str(inputs)]
        with (folder / "output").open("wb+") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            said = output.read().decode(errors="replace")
        left = [path for path in inputs.iterdir() if _FOUND.match(path.name)]
    done = _DONE.search(said)
    return Outcome(
        # The exit status says nothing: now and then the interpreter fails to end after all is done.
        found=not before.issuperset(left) or done is None,
        executions=int(done[1]) if done else 0,
        megabytes=usage.ru_maxrss // 1024,
        grown=grown(said),
        allowed=allowed(runs),
        output=said[-6000:],
    )
