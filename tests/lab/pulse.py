"""A guest's pulse: one beat as long as timers run out on each of its processors.

A processor whose timer is lost takes its sleepers with it, and the guest is dead in parts: tests
on it time out one by one, for no fault of theirs. Without a beat the outer run knows.
"""

import os
import threading
import time
from collections.abc import Callable

BEAT_SECONDS = 5.0


class Pulse:
    """Calls *beat* every few seconds for as long as a thread on every processor wakes up."""

    def __init__(self, beat: Callable[[], None], seconds: float = BEAT_SECONDS) -> None:
        self._beat = beat
        self._seconds = seconds
        self._lock = threading.Lock()
        self._awake: set[int] = set()
        self._processors = frozenset(os.sched_getaffinity(0))

    def start(self) -> None:
        for processor in self._processors:
            threading.Thread(target=self._watch, args=(processor,), daemon=True).start()

    def _watch(self, processor: int) -> None:
        # In Linux's sense each thread has an affinity of its own, and 0 means this one.
        os.sched_setaffinity(0, {processor})
        while True:
            time.sleep(self._seconds)
            self.woke(processor)

    def woke(self, processor: int) -> None:
        """A processor's timer ran out; with the last one missing the guest has a beat."""
        with self._lock:
            self._awake.add(processor)
            if self._awake < self._processors:
                return
            self._awake.clear()
        self._beat()
