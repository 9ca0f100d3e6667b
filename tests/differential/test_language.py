"""The sequences themselves: drawn the same from the same seed, played without a trace, shrunk."""

from __future__ import annotations

import errno
import json
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from isod.kernel.simulated.hosts import STANDARD

from .enough import OPERATIONS
from .generate import Stock, draw
from .judge import Judge
from .operation import Operation, Scene, Sequence
from .play import Outcome, play
from .recording import Recording
from .shrink import shrink
from .simulated_side import SimulatedSide

PAIR = ("0000:01:00.0", "0000:01:00.1")
DISK = "0000:02:00.0"
STOCK = Stock(
    sets={PAIR: 2.0, (*PAIR, DISK): 1.0, (DISK,): 1.0},
    native={PAIR[0]: "e1000e", PAIR[1]: "e1000e", DISK: "nvme"},
    resets={PAIR[0]: ("pm", "bus"), PAIR[1]: ("pm",), DISK: ("flr", "bus")},
)


@pytest.fixture
def side(tmp_path: Path) -> SimulatedSide:
    return SimulatedSide(tmp_path / "host", STANDARD)


def test_the_same_seed_draws_the_same() -> None:
    assert draw("12/3", STOCK) == draw("12/3", STOCK)
    assert len({draw(f"12/{number}", STOCK)[1] for number in range(100)}) == 100


def test_every_operation_is_drawn() -> None:
    drawn = Counter(
        (operation.who in "ab", operation.what)
        for number in range(1000)
        for operation in draw(f"7/{number}", STOCK)[1]
    )
    assert min(drawn.values()) >= 5
    words = [(whose.partition(" ")) for whose in OPERATIONS]
    assert set(drawn) == {(who == "client", what) for who, _, what in words}


def test_a_host_plays_the_same_twice(side: SimulatedSide) -> None:
    """What one sequence leaves behind, the next one does not see."""
    first = [play(side, *draw(f"5/{number}", STOCK)) for number in range(20)]
    assert [play(side, *draw(f"5/{number}", STOCK)) for number in range(20)] == first


def test_a_recording_survives_the_way_out_of_its_guest(side: SimulatedSide, tmp_path: Path) -> None:
    recording = Recording(STANDARD, STOCK)
    for number in range(20):
        recording.outcomes[f"9/{number}"] = play(side, *draw(f"9/{number}", STOCK))
    came = Recording.from_data(json.loads(json.dumps(recording.as_data())))
    assert came.outcomes == recording.outcomes
    assert came.answers().total() > 100
    assert came.differences(tmp_path) == {}


def test_a_difference_is_told_with_its_seed(side: SimulatedSide, tmp_path: Path) -> None:
    recording = Recording(STANDARD, STOCK)
    real = play(side, *draw("9/1", STOCK))
    recording.outcomes["9/1"] = [*real[:-1], Outcome("EUCLEAN")]
    ((kind, (text,)),) = recording.differences(tmp_path).items()
    assert "EUCLEAN / " in kind
    assert text.startswith("ISOD_SEED=9/1: d0 is ")
    assert "real: EUCLEAN" in text


def test_a_lie_is_found_and_shrunk(side: SimulatedSide, tmp_path: Path) -> None:
    class Lying(SimulatedSide):
        def override(self, device: str, driver: str | None) -> None:
            raise PermissionError(errno.EPERM, "not today")

    def lying() -> SimulatedSide:
        return Lying(tmp_path / f"{next(numbers)}", STANDARD)

    numbers = count()
    scene = Scene((DISK,), (None,), (None,))
    override = Operation("root", "override", ("d0", "pci-stub"))
    others = [Operation("a", "container", (f"c{number}",)) for number in range(5)]
    found = Judge(side, lying).difference("1/1", scene, (*others, override, *others))
    assert found is not None
    assert "simulated: EPERM" in found
    assert "container" not in found


def test_the_wait_of_a_fence_is_an_answer(side: SimulatedSide) -> None:
    scene = Scene((DISK,), ("vfio-pci",), (None,))
    outcomes = play(
        side,
        scene,
        (
            Operation("a", "cdev", ("d1", "d0")),
            Operation("isod", "fence", ("d0",)),
            Operation("isod", "bind", ("d0",)),
            Operation("a", "close", ("d1",)),
        ),
    )
    assert [outcome.answer for outcome in outcomes] == ["ok", "ok", "ok", "void", "ok", "ok"]
    assert outcomes[2].host[-1] == "fence waits: d0"
    assert outcomes[-1].host == ("d0 on None, override vfio-pci",)


def test_shrinking_leaves_what_matters() -> None:
    sequence = tuple(Operation("a", what) for what in "abcdefgh")

    def differs(shorter: Sequence) -> bool:
        return {"c", "g"} <= {operation.what for operation in shorter}

    assert "".join(one.what for one in shrink(sequence, differs, 100)) == "cg"
