"""How long something waited, however slow the machine is.

A guest is emulated, and others run beside it: what a restart takes there says nothing. But while
it waits for something its processor has nothing to do, and a processor that is slow or taken away
is not idle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# user, nice, system, idle, iowait, …, in ticks (proc_stat(5)).
_IDLE, _IOWAIT = 4, 5


def seconds_waited(act: Callable[[], object]) -> float:
    """For how long of what it did nothing at all happened, in a guest. Raises what ``act`` does."""
    with _one_processor() as processor:
        before = _idle_seconds(processor)
        act()
        return _idle_seconds(processor) - before


@contextmanager
def _one_processor() -> Iterator[int]:
    """All programs share one processor, those too that are started meanwhile; its number.
    Otherwise one is idle while others work. Emulated ones are no slower for it: they take turns."""
    every = os.sched_getaffinity(0)
    chosen = min(every)
    # The guest's pulse has threads that stay where they are.
    stay = _threads({chosen})
    for thread in _threads(every) - stay:
        _confine(thread, {chosen})
    try:
        yield chosen
    finally:
        for thread in _threads({chosen}) - stay:
            _confine(thread, every)


def _idle_seconds(processor: int) -> float:
    """How long it had nothing to do since the start of the machine. Counted at ticks of its timer:
    those that the host was too busy for are not counted."""
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[0] == f"cpu{processor}":
            return (int(words[_IDLE]) + int(words[_IOWAIT])) / os.sysconf("SC_CLK_TCK")
    raise AssertionError(f"no processor {processor}")


def _threads(processors: set[int]) -> set[int]:
    """Threads of programs, not of the kernel, that may run on just these."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        with suppress(OSError):
            thread = int(place.name)
            if (place / "cmdline").read_bytes() and os.sched_getaffinity(thread) == processors:
                found.add(thread)
    return found


def _confine(thread: int, processors: set[int]) -> None:
    with suppress(ProcessLookupError):
        os.sched_setaffinity(thread, processors)
