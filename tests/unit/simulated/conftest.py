"""Hosts for the tests of the simulated kernel, each in a directory of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .played import Played


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: hosts are many small files, slow on some disks."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Played]:
    yield from _played(tmp_path / "demo", "demo")


@pytest.fixture
def standard(tmp_path: Path) -> Iterator[Played]:
    yield from _played(tmp_path / "standard", "standard")


@pytest.fixture
def shared_bus(tmp_path: Path) -> Iterator[Played]:
    yield from _played(tmp_path / "shared-bus", "shared-bus")


@pytest.fixture
def sriov(tmp_path: Path) -> Iterator[Played]:
    yield from _played(tmp_path / "sriov", "sriov")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test puts on it."""
    with ExitStack() as opened:
        yield opened


def _played(directory: Path, name: str) -> Iterator[Played]:
    played = Played(directory, name)
    yield played
    played.kernel.close()
