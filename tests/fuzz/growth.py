"""How much a fuzzed process has resident, told so often that a slow leak is seen."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

# Of each input, on the average. The fuzzer itself keeps up to 270 bytes of a policy's: replayed
# without it, not one stays. A leak of 1 KiB is far beyond.
_LEAK_BYTES = 640
_LOOKS = 20
# What belongs to beginning: modules, caches, and most of the corpus come in the first fifth.
_FIRST = _LOOKS // 5
_TOLD = re.compile(r"^resident (\d+) KiB$", re.MULTILINE)


def watched(take: Callable[[bytes], None], runs: int) -> Callable[[bytes], None]:
    """The same, telling twenty times in so many runs what is resident, on standard error."""
    done = 0
    pause = max(1, runs // _LOOKS)

    def take_and_tell(data: bytes) -> None:
        nonlocal done
        take(data)
        done += 1
        if done % pause == 0:
            gc.collect()
            os.write(2, b"resident %d KiB\n" % _resident())

    return take_and_tell


def grown(said: str) -> int | None:
    """By how many KiB it has grown after the first fifth of its runs; None: it was not told."""
    told = [int(number) for number in _TOLD.findall(said)]
    return told[-1] - told[_FIRST - 1] if len(told) >= _LOOKS else None


def allowed(runs: int) -> int:
    """As many KiB may come with so many runs: with more something leaks."""
    return runs * (_LOOKS - _FIRST) // _LOOKS * _LEAK_BYTES >> 10


def _resident() -> int:
    """In KiB, without pages of files."""
    words = Path("/proc/self/statm").read_text().split()
    return (int(words[1]) - int(words[2])) * (os.sysconf("SC_PAGESIZE") >> 10)
