"""The simulated kernel is honest: what two clients, isod and an administrator do to it in random
order, it answers as a real one does.

``ISOD_SEED`` repeats a run, or plays and shrinks one sequence of it (``1234/56``);
``ISOD_SEQUENCES`` says how many are played.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from time import monotonic

import pytest

from isod.kernel.simulated.topology import SimulatedHost

from .enough import shortcomings, wanted
from .generate import Stock, draw
from .judge import Judge
from .linux_side import LinuxSide
from .recording import Recording
from .side_by_side import play_side_by_side
from .simulated_side import SimulatedSide
from .stock import prepared

pytestmark = pytest.mark.differential

RecordProperty = Callable[[str, object], None]
PLAYERS = 4
LIMIT = 3600.0
_SHOWN = 5


def seeds() -> list[str]:
    """New ones at each run, unless it was told which."""
    base = os.environ.get("ISOD_SEED") or str(random.SystemRandom().randrange(10**9))
    return [base] if "/" in base else [f"{base}/{place}" for place in range(wanted())]


@pytest.mark.lab(kernels=("7.2",), topology="several", own="differential", limit=LIMIT)
def test_the_real_kernel_plays(tmp_path: Path, record_property: RecordProperty) -> None:
    side = LinuxSide()
    host, stock = prepared(side)
    side.close()
    chosen = seeds()
    if len(chosen) == 1:
        shrunk_here(chosen[0], host, stock, tmp_path)
    began = monotonic()
    outcomes = play_side_by_side(chosen, stock, LinuxSide, PLAYERS)
    recording = Recording(host, stock, outcomes, monotonic() - began)
    record_property("differential", recording.as_data())


def shrunk_here(seed: str, host: SimulatedHost, stock: Stock, directory: Path) -> None:
    """Play a sequence on both sides in this guest, which can play it again to shrink it."""
    numbers = count()
    side = LinuxSide(stock)
    try:
        judge = Judge(side, lambda: SimulatedSide(directory / f"{next(numbers)}", host))
        difference = judge.difference(seed, *draw(seed, stock))
        assert difference is None, difference
    finally:
        side.close()


@pytest.mark.lab(guest=False)
def test_the_simulated_kernel_answers_the_same(
    recordings: Mapping[str, Recording], tmp_path: Path
) -> None:
    complaints = shortcomings(recordings.values(), wanted())
    for where, recording in recordings.items():
        differences = recording.differences(tmp_path / where)
        for kind, found in list(differences.items())[:_SHOWN]:
            shortest = min(found, key=lambda text: text.count("\n"))
            complaints.append(f"{where}, {len(found)} times {kind}\n{shortest}")
        if differences:
            counted = Counter({kind: len(found) for kind, found in differences.items()})
            complaints.append(f"{where}: {counted.total()} sequences differ")
    assert not complaints, "\n\n".join(complaints)
