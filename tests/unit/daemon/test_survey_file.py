"""The survey's file: what is written is read, and what is not to be believed is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from isod.daemon import survey_file
from isod.daemon.survey_file import SurveyError, edition, read_survey, write_survey
from isod.model.address import Address
from isod.model.survey import Acs, Express, PortType, Survey, SurveyedFunction

FUNCTION = SurveyedFunction(
    address=Address.parse("00:02.0"),
    generation=41,
    header_type=1,
    capabilities=True,
    extended=True,
    express=Express(port=PortType.root_port, slot=0),
    acs=Acs(capabilities=0x1D, control=0),
)
SURVEY = Survey(version=1, functions=(FUNCTION,))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_survey(tmp_path / "run" / "survey", SURVEY)
    assert path.stat().st_mode & 0o777 == 0o644
    found = read_survey(path.parent)
    assert found == (edition(path.parent), SURVEY)
    assert [one.name for one in path.parent.iterdir()] == ["survey.json"]


def test_every_write_is_another_edition(tmp_path: Path) -> None:
    write_survey(tmp_path, SURVEY)
    before = edition(tmp_path)
    write_survey(tmp_path, Survey(version=1, functions=()))
    assert before is not None
    assert edition(tmp_path) != before


def test_no_file_is_no_survey_and_no_fault(tmp_path: Path) -> None:
    assert read_survey(tmp_path / "nothing") is None
    assert edition(tmp_path / "nothing") is None


def written(folder: Path, text: str) -> Path:
    path = folder / "survey.json"
    path.write_text(text)
    path.chmod(0o644)
    return path


def wrong(**changes: object) -> str:
    function = json.loads(FUNCTION.model_dump_json(exclude_defaults=True))
    return json.dumps({"version": 1, "functions": [function | changes]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version":1',
        '{"version":2,"functions":[]}',
        '{"functions":[]}',
        '{"version":1,"functions":[],"more":1}',
        wrong(address="../../etc/passwd"),
        wrong(generation=-1),
        wrong(generation="41"),
        wrong(header_type=300),
        wrong(express={"port": "airport"}),
        wrong(acs={"capabilities": 1}),
        wrong(acs={"capabilities": 1, "control": 65536}),
        wrong(surprise=True),
        json.dumps({"version": 1, "functions": json.loads(wrong())["functions"] * 2}),
        '{"version":1,"functions":' + "[" * 100_000,
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    written(tmp_path, text)
    with pytest.raises(SurveyError, match="makes no sense"):
        read_survey(tmp_path)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    write_survey(tmp_path, SURVEY).chmod(0o664)
    with pytest.raises(SurveyError, match="others may write"):
        read_survey(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(write_survey(tmp_path, SURVEY), 65534, -1)
    with pytest.raises(SurveyError, match="uid 65534"):
        read_survey(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = write_survey(tmp_path / "other", SURVEY)
    (tmp_path / "survey.json").symlink_to(path)
    with pytest.raises(SurveyError, match="cannot be opened"):
        read_survey(tmp_path)


def test_a_pipe_does_not_stop_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "survey.json")
    with pytest.raises(SurveyError, match="not a file"):
        read_survey(tmp_path)


def test_a_file_too_long_is_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_survey(tmp_path, SURVEY)
    monkeypatch.setattr(survey_file, "MAX_BYTES", 40)
    with pytest.raises(SurveyError, match="longer than 40 bytes"):
        read_survey(tmp_path)


def test_a_write_that_fails_leaves_the_former_file(tmp_path: Path) -> None:
    write_survey(tmp_path, SURVEY)
    (tmp_path / "survey.json").rename(tmp_path / "kept.json")
    (tmp_path / "survey.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_survey(tmp_path, SURVEY)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept.json", "survey.json"]
