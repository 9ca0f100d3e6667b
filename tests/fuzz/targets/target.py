"""What a target is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """``make`` prepares a folder; ``seeds`` are inputs of the ordinary kind to begin with, and none
    is longer than ``longest`` bytes. ``runs`` inputs are tried with all tests."""

    make: Callable[[Path], Take]
    seeds: Callable[[Path], Sequence[bytes]]
    longest: int
    runs: int = 100_000
