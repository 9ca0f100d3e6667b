"""The simulated kernel is honest: what two clients, isod and an administrator do to it in random
order, it answers as a real one does.

``ISOD_SEED`` repeats a run, or plays and shrinks one sequence of it (``1234/56``);
``ISOD_SEQUENCES`` says how many each guest plays.
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

from .generate import draw
from .judge import Judge
from .linux_side import LinuxSide
from .play import play
from .recording import Recording
from .simulated_side import SimulatedSide
from .stock import prepared

# A difference that turns up once in hundreds of sequences must not keep everything else from
# landing: make differential plays them.
pytestmark = pytest.mark.differential

RecordProperty = Callable[[str, object], None]
LIMIT = 3600.0
_SHOWN = 5


def seeds(sequences: int) -> list[str]:
    """New ones at each run, unless it was told which."""
    base = os.environ.get("ISOD_SEED") or str(random.SystemRandom().randrange(10**9))
    number = int(os.environ.get("ISOD_SEQUENCES") or sequences)
    return [base] if "/" in base else [f"{base}/{place}" for place in range(number)]


@pytest.mark.lab(kernels=("7.2",), topology="standard", own="differential", limit=LIMIT)
def test_one_of_each_plays(tmp_path: Path, record_property: RecordProperty) -> None:
    play_here(1400, tmp_path, record_property)


@pytest.mark.lab(kernels=("7.2",), topology="shared-bus", own="differential", limit=LIMIT)
def test_two_groups_on_one_bus_play(tmp_path: Path, record_property: RecordProperty) -> None:
    play_here(700, tmp_path, record_property)


def play_here(sequences: int, directory: Path, record_property: RecordProperty) -> None:
    side = LinuxSide()
    try:
        host, stock = prepared(side)
        recording = Recording(host, stock)
        began = monotonic()
        for seed in seeds(sequences):
            scene, sequence = draw(seed, stock)
            recording.outcomes[seed] = play(side, scene, sequence)
        recording.seconds = monotonic() - began
        record_property("differential", recording.as_data())
        if len(recording.outcomes) == 1:
            numbers = count()
            judge = Judge(side, lambda: SimulatedSide(directory / f"{next(numbers)}", host))
            difference = judge.difference(seed, scene, sequence)
            assert difference is None, difference
    finally:
        side.close()


@pytest.mark.lab(guest=False)
def test_the_simulated_kernel_answers_the_same(
    recordings: Mapping[str, Recording], tmp_path: Path
) -> None:
    complaints = []
    for where, recording in recordings.items():
        differences = recording.differences(tmp_path / where)
        for kind, found in list(differences.items())[:_SHOWN]:
            shortest = min(found, key=lambda text: text.count("\n"))
            complaints.append(f"{where}, {len(found)} times {kind}\n{shortest}")
        if differences:
            counted = Counter({kind: len(found) for kind, found in differences.items()})
            complaints.append(f"{where}: {counted.total()} sequences differ")
    assert not complaints, "\n\n".join(complaints)
