"""Attackers of several kinds (attacker.py), each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_FIRST_UID = 62_000
_UIDS_EACH = 100  # one that is silent is many users


class Raid:
    """They flood from the start on."""

    def __init__(self, kinds: Sequence[str], socket: Path, cpu: int) -> None:
        self._processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.bench.attacker"),
                    *(kind, str(socket), str(_FIRST_UID + _UIDS_EACH * index), str(cpu)),
                ],
                start_new_session=True,
            )
            for index, kind in enumerate(kinds)
        ]

    def flood(self, going: bool) -> None:
        """Go on, or stand still."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGCONT if going else signal.SIGSTOP)

    @property
    def alive(self) -> bool:
        """Whether all of them are: none has given up."""
        return all(process.poll() is None for process in self._processes)

    def end(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def raid(kinds: Sequence[str], socket: Path, cpu: int) -> Iterator[Raid]:
    raiders = Raid(kinds, socket, cpu)
    try:
        yield raiders
    finally:
        raiders.end()
