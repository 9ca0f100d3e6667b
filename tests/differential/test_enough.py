"""A run that has shown nothing is not taken for one without differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from isod.kernel.simulated.hosts import STANDARD

from .enough import OPERATIONS, PER, SEQUENCES, shortcomings, wanted
from .generate import draw
from .play import Outcome, play
from .recording import Recording
from .simulated_side import SimulatedSide
from .test_language import STOCK


def recorded(answer: str, count: int) -> Recording:
    """So many sequences, all of whose operations were answered the same."""
    recording = Recording(STANDARD, STOCK)
    for number in range(count):
        _, sequence = draw(f"3/{number}", STOCK)
        recording.outcomes[f"3/{number}"] = [Outcome(answer)] * (len(sequence) + 2)
    return recording


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, SEQUENCES),
        ({"ISOD_SEED": "1234"}, SEQUENCES),
        ({"ISOD_SEQUENCES": "7"}, 7),
        ({"ISOD_SEED": "1234/56"}, 1),
    ],
)
def test_only_the_environment_asks_for_fewer(environment: dict[str, str], number: int) -> None:
    assert SEQUENCES >= 2000
    assert wanted(environment) == number


def test_a_run_without_a_guest_is_none() -> None:
    assert shortcomings([], 2000) == ["no guest has played anything"]


def test_too_few_sequences_are_told() -> None:
    assert shortcomings([recorded("ok", 9)], 10) == ["9 sequences of 10 were played"]


def test_where_every_operation_succeeds_nothing_is_missing() -> None:
    assert shortcomings([recorded("ok", PER)], PER) == []


def test_an_operation_that_never_succeeds_is_told() -> None:
    complaints = shortcomings([recorded("EINVAL", PER)], PER)
    assert len(complaints) == len(OPERATIONS) - 1
    assert "client hot has succeeded 0 times, not 1" in complaints


def test_successes_are_counted_by_operation(tmp_path: Path) -> None:
    side = SimulatedSide(tmp_path / "host", STANDARD)
    recording = Recording(STANDARD, STOCK)
    for number in range(20):
        recording.outcomes[f"9/{number}"] = play(side, *draw(f"9/{number}", STOCK))
    successes = recording.successes()
    assert successes["client container"] > 5
    assert successes.keys() <= set(OPERATIONS)
    assert sum(successes.values()) < recording.answers().total()
