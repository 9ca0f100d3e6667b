"""What the daemon says of isolation, before a survey, after it, and after one that went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.cli.isod import main
from isod.client.blocking import Client
from isod.kernel.simulated.hosts import DEMO

from . import policy
from .machine import SimulatedMachine
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons


@pytest.fixture
def stage() -> Iterator[Stage]:
    found = Stage(lambda folder: SimulatedMachine(folder, DEMO, {}), policy.NOTHING)
    found.start()
    yield found
    found.close()


def survey(folder: Path) -> None:
    assert main(["survey", "--simulate", str(folder)]) == 0


def test_the_daemon_takes_a_survey_in_when_it_is_there(stage: Stage) -> None:
    home = stage.folder / "machine"
    with Client.connect(stage.socket) as isod:
        assert isod.isolation("02:00.0").isolation == "unknown"
        survey(home)
        assert isod.isolation("02:00.0").isolation == "device"
        nic = isod.isolation("04:02.0")
        assert nic.isolation == "group"
        assert [a.short for a in nic.granule.members] == ["04:01.0", "04:02.0"]
        assert isod.isolation("41:00.0").isolation == "none"
        (home / "survey" / "survey.json").write_text('{"version":1,"functions":"all"}')
        assert isod.isolation("02:00.0").isolation == "unknown"
        assert isod.isolation("04:02.0").isolation == "unknown"
    stage.daemon.wait_for("survey", "not used")
    assert sum("not used" in line for line in stage.daemon.log) == 1


def test_a_survey_of_before_is_there_after_a_restart(stage: Stage) -> None:
    survey(stage.folder / "machine")
    stage.stop()
    stage.start()
    with Client.connect(stage.socket) as isod:
        assert isod.isolation("02:00.0").isolation == "device"
