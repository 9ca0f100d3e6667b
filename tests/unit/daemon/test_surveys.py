"""The daemon's side of a survey: what changed is read again, what is corrupt leaves unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.cli.isod import main
from isod.daemon.store import Store
from isod.daemon.surveys import Surveys
from isod.daemon.world import World
from isod.kernel.simulated import outside
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import DEMO
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.model.address import Address
from isod.model.isolation import IsolationInfo
from isod.model.reason import RefusedError
from isod.model.request import OneDevice

NVME = Address.parse("02:00.0")


class Records:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        self.lines.append((kind, message))


class Scene:
    """A simulated host, and a world that looks at its survey."""

    def __init__(self, folder: Path) -> None:
        self.host = folder / "host"
        build(self.host, DEMO)
        self.kernel = SimulatedKernel(self.host)
        self.records = Records()
        self.store = Store(folder / "state")
        self.world = World(self.store, self.records, self.kernel.snapshot(1))
        self.surveys = Surveys(self.host / "survey", self.world)

    def survey(self) -> None:
        assert main(["survey", "--simulate", str(self.host)]) == 0

    def show(self, address: Address = NVME) -> IsolationInfo:
        return self.surveys.show(OneDevice(address=address))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.store.close()
    found.kernel.close()


async def test_without_a_file_all_is_unknown_and_nothing_is_said(scene: Scene) -> None:
    await scene.surveys.look()
    assert scene.show().isolation == "unknown"
    assert scene.records.lines == []


async def test_a_survey_is_taken_in_when_it_comes(scene: Scene) -> None:
    await scene.surveys.look()
    scene.survey()
    await scene.surveys.look()
    assert scene.show().isolation == "device"


async def test_the_same_file_is_read_once(scene: Scene) -> None:
    scene.survey()
    await scene.surveys.look()
    sequence = scene.world.snapshot.sequence
    await scene.surveys.look()
    assert scene.world.snapshot.sequence == sequence


async def test_a_corrupt_file_makes_all_unknown_and_is_complained_of_once(scene: Scene) -> None:
    scene.survey()
    await scene.surveys.look()
    (scene.host / "survey" / "survey.json").write_text("{")
    for _ in range(3):
        await scene.surveys.look()
    assert scene.show().isolation == "unknown"
    assert [kind for kind, _ in scene.records.lines] == ["survey"]
    assert "makes no sense" in scene.records.lines[0][1]
    scene.survey()
    await scene.surveys.look()
    assert scene.show().isolation == "device"


async def test_a_folder_in_its_place_is_no_survey(scene: Scene) -> None:
    (scene.host / "survey" / "survey.json").mkdir(parents=True)
    await scene.surveys.look()
    assert [kind for kind, _ in scene.records.lines] == ["survey"]


async def test_a_file_that_is_taken_away_is_forgotten(scene: Scene) -> None:
    scene.survey()
    await scene.surveys.look()
    (scene.host / "survey" / "survey.json").unlink()
    await scene.surveys.look()
    assert scene.show().isolation == "unknown"
    assert scene.records.lines == []


async def test_a_rescan_keeps_what_was_surveyed(scene: Scene) -> None:
    scene.survey()
    await scene.surveys.look()
    scene.world.replace_host(scene.kernel.snapshot(1), scene.world.begin_look())
    assert scene.show().isolation == "device"


async def test_a_device_that_was_exchanged_is_unknown_until_the_next_survey(scene: Scene) -> None:
    scene.survey()
    await scene.surveys.look()
    outside.unbind_driver(scene.host, NVME.name)
    assert outside.unplug(scene.host, NVME.name)
    outside.replug(scene.host, NVME.name)
    scene.world.replace_host(scene.kernel.snapshot(1), scene.world.begin_look())
    assert scene.show().isolation == "unknown"
    scene.survey()
    await scene.surveys.look()
    assert scene.show().isolation == "device"


async def test_a_device_that_is_not_there_is_refused(scene: Scene) -> None:
    with pytest.raises(RefusedError, match="no device"):
        scene.show(Address.parse("7f:00.0"))
