"""Files of cases: what they may say, and faults that name their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from isod.policy.cases import CasesError, read_cases

CASE = """version = 1
[users]
alice = 1000
[groups]
lab = 50
[peer.alice]
user = "alice"
groups = ["lab", 51]
unit = "x.service"
[[case]]
name = "one"
peer = "alice"
ask = { devices = ["01:00.0", { address = "01:00.1", generation = 7 }], hand_over = "nodes" }
allowed = "rule"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cases.toml"
    path.write_text(text)
    return path


def test_a_case_becomes_a_peer_and_a_request(tmp_path: Path) -> None:
    [case] = read_cases(written(tmp_path, CASE)).cases
    assert (case.peer.uid, case.peer.gid) == (1000, 50)
    assert case.peer.groups == {50, 51}
    assert (case.peer.unit, case.peer.verified, case.peer.admin) == ("x.service", True, False)
    assert [device.address.short for device in case.request.named] == ["01:00.0", "01:00.1"]
    assert (case.request.named[1].generation, case.request.hand_over) == (7, "nodes")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = CASE.replace("version = 1", 'version = 1\npolicy = ["rules.toml"]')
    assert read_cases(written(tmp_path, text)).policy == (tmp_path / "rules.toml",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('user = "alice"', 'user = "mallory"', "case one: no user is called mallory"),
        ('user = "alice"', 'user = "alice"\nuid = 3', "either a user or a uid"),
        ('peer = "alice"', 'peer = "bob"', "case one: there is no [peer.bob]"),
        ('allowed = "rule"', "", "expects either allowed or refused"),
        ('allowed = "rule"', 'refused = "no"', "there is no reason no"),
        ("hand_over", "handover", "case one: ask: handover"),
        ("01:00.1", "nonsense", "not a device address"),
        ("version = 1", "version = 2", "version"),
        ("version = 1", "version = ", "line 1"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(CasesError) as caught:
        read_cases(written(tmp_path, CASE.replace(old, new)))
    assert str(caught.value).startswith(str(tmp_path / "cases.toml"))
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CasesError):
        read_cases(tmp_path / "none.toml")
