"""Rule 1: a basename in a later folder hides the earlier; then files are sorted by basename into
one list; rule names are required and unique."""

from __future__ import annotations

from pathlib import Path

import pytest

from isod.model.policy import Policy
from isod.policy.folder import FOLDERS, PolicyError, load

from .asking import rule


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Stand for /usr/lib, /run and /etc."""
    found = [tmp_path / name for name in ("usr", "run", "etc")]
    for folder in found:
        folder.mkdir()
    return found


def put(folder: Path, name: str, *rules: str) -> None:
    (folder / name).write_text("version = 1\n" + "\n".join(rules))


def names(policy: Policy) -> list[str]:
    return [one.name for one in policy.rules]


def test_the_folders_of_the_machine_come_before_those_of_its_administrator() -> None:
    assert [str(folder) for folder in FOLDERS] == [
        "/usr/lib/isod/policy.d",
        "/run/isod/policy.d",
        "/etc/isod/policy.d",
    ]


def test_files_are_read_by_basename_whatever_folder_they_are_in(folders: list[Path]) -> None:
    usr, run, etc = folders
    put(etc, "10.toml", rule("first"))
    put(usr, "20.toml", rule("second"))
    put(run, "30.toml", rule("third"))
    assert names(load(folders, 1)) == ["first", "second", "third"]


def test_a_file_in_a_later_folder_hides_its_namesake(folders: list[Path]) -> None:
    usr, run, etc = folders
    put(usr, "50.toml", rule("vendor"))
    put(run, "50.toml", rule("today"))
    assert names(load(folders, 1)) == ["today"]
    put(etc, "50.toml", rule("mine"))
    assert names(load(folders, 1)) == ["mine"]


def test_an_empty_file_takes_its_namesake_away(folders: list[Path]) -> None:
    usr, _, etc = folders
    put(usr, "50.toml", rule("vendor"))
    put(etc, "50.toml")
    assert names(load(folders, 1)) == []


def test_a_hidden_file_may_have_any_fault(folders: list[Path]) -> None:
    usr, _, etc = folders
    (usr / "50.toml").write_text("nonsense")
    put(etc, "50.toml", rule("mine"))
    assert names(load(folders, 1)) == ["mine"]


def test_what_is_not_called_toml_is_not_read(folders: list[Path]) -> None:
    (folders[0] / "50.toml.bak").write_text("nonsense")
    (folders[0] / "README").write_text("nonsense")
    assert names(load(folders, 1)) == []


def test_a_fault_in_any_file_means_that_none_is_used(folders: list[Path]) -> None:
    put(folders[0], "10.toml", rule("good"))
    put(folders[2], "99.toml", rule("bad", effect="perhaps"))
    with pytest.raises(PolicyError) as caught:
        load(folders, 1)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("99.toml: rule 1 (bad), effect: ")


def test_two_rules_of_one_name_are_a_fault_that_names_both_files(folders: list[Path]) -> None:
    put(folders[0], "10.toml", rule("same"))
    put(folders[2], "20.toml", rule("same"))
    with pytest.raises(PolicyError) as caught:
        load(folders, 1)
    assert caught.value.problems == ("20.toml: rule same: the name is taken, by one in 10.toml",)


def test_a_rule_without_a_name_is_a_fault(folders: list[Path]) -> None:
    put(folders[0], "10.toml", rule("x").replace('name = "x"\n', ""))
    with pytest.raises(PolicyError, match="rule 1, name: is missing"):
        load(folders, 1)
