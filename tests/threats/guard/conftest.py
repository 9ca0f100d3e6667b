"""A daemon that may take everything by rule, so that whatever is refused, the guard refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isod.kernel.simulated.hosts import DEMO
from tests.lab.selection import guest_here
from tests.walk import policy
from tests.walk.machine import LinuxMachine, SimulatedMachine
from tests.walk.stage import Stage

from .asking import Asker

RULES = policy.NOTHING + policy.rule()


@pytest.fixture(scope="module")
def _shared() -> Iterator[Stage]:
    stage = Stage(
        lambda folder: LinuxMachine() if guest_here() else SimulatedMachine(folder, DEMO, {}),
        RULES,
    )
    stage.start()
    yield stage
    stage.close()


@pytest.fixture
def asker(stage: Stage) -> Asker:
    return Asker(stage)
