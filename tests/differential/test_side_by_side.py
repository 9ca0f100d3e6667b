"""Sequences that are played at once do not meet, and nothing comes out that would not anyway."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from isod.kernel.simulated.hosts import STANDARD

from .generate import Stock, draw
from .play import play
from .side_by_side import Program, buses, play_side_by_side
from .simulated_side import SimulatedSide
from .test_language import DISK, PAIR, STOCK

SEEDS = [f"3/{number}" for number in range(40)]


@dataclass(frozen=True)
class Hosts:
    """A player's own host, or none at all."""

    directory: Path
    broken: bool = False

    def __call__(self, stock: Stock) -> SimulatedSide:
        side = SimulatedSide(self.directory / f"{os.getpid()}", STANDARD)
        if self.broken:
            side.known = {}
            side.kernel.close()
            (self.directory / f"{os.getpid()}" / "machine.json").unlink()
        return side


def test_they_come_out_as_if_played_one_after_the_other(tmp_path: Path) -> None:
    side = SimulatedSide(tmp_path / "alone", STANDARD)
    alone = {seed: play(side, *draw(seed, STOCK)) for seed in SEEDS}
    side.close()
    together = play_side_by_side(SEEDS, STOCK, Hosts(tmp_path), 2)
    assert together == alone
    assert list(together) == SEEDS


def test_what_breaks_a_player_is_told_with_its_seed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"AssertionError: 3/0:\nTraceback"):
        play_side_by_side(SEEDS[:1], STOCK, Hosts(tmp_path, broken=True), 1)


def test_two_at_once_share_no_bus() -> None:
    program = Program(SEEDS, STOCK)
    seed, taken = program.take(frozenset()) or ("", frozenset())
    assert taken == buses(draw(seed, STOCK)[0].devices)
    while (other := program.take(taken)) is not None:
        assert not other[1] & taken
    assert 0 < len(program) < len(SEEDS)


def test_the_bus_with_most_to_do_comes_first() -> None:
    stock = Stock({PAIR: 1.0, (DISK,): 10.0}, {}, dict.fromkeys((*PAIR, DISK), ()))
    taken = Program(SEEDS, stock).take(frozenset())
    assert taken is not None
    assert taken[1] == buses([DISK])
