"""``policy check``: what is found in files, each with its place."""

from __future__ import annotations

from pathlib import Path

from isod.policy.check import Finding, check

from .asking import rule

RULE = """version = 1
[[rule]]
name = "NAME"
effect = "allow"
who = [{ user = ["carol-of-nowhere"] }]
what = [{ vendor = "8086" }]
"""


def test_a_fault_is_told_by_file_place_and_what(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(RULE.replace("vendor", "vender"))
    report = check([tmp_path])
    assert report.policy is None
    assert report.faults == (Finding("a.toml", "rule 1 (NAME), what 1, vender", "unknown key"),)


def test_what_is_no_toml_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("version = \n")
    [fault] = check([tmp_path]).faults
    assert (fault.file, fault.place) == ("a.toml", "")
    assert "line 1" in fault.what


def test_a_single_file_may_be_checked(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(RULE)
    (tmp_path / "b.toml").write_text("nonsense")
    report = check([tmp_path / "a.toml"])
    assert report.files == (tmp_path / "a.toml",)
    assert not report.faults


def test_an_unknown_user_is_a_warning_unless_he_is_given_an_id(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(RULE)
    assert [one.what for one in check([tmp_path]).warnings] == [
        "no user is called carol-of-nowhere"
    ]
    assert check([tmp_path], lambda kind, name: 1000).warnings == ()


def test_a_rule_that_can_never_decide_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(RULE.replace("NAME", "wide"))
    narrow = RULE.replace("NAME", "narrow").replace("8086", '8086", device = "10d3')
    (tmp_path / "b.toml").write_text(narrow)
    warnings = check([tmp_path], lambda kind, name: 1000).warnings
    assert warnings == (
        Finding(
            "b.toml",
            "rule narrow",
            "never decides: rule wide (a.toml) matches all that it would",
        ),
    )


def test_a_table_whose_users_have_none_of_its_uids_is_warned_of(tmp_path: Path) -> None:
    who = '[{ uid = [7] }, { user = ["alice", "bob"], uid = ["2000-2999"] }]'
    (tmp_path / "a.toml").write_text("version = 1\n" + rule("no", "deny", who=who))
    ids = {"alice": 1000, "bob": 1001}
    [warning] = check([tmp_path], lambda kind, name: ids.get(name)).warnings
    assert (warning.file, warning.place) == ("a.toml", "rule no, who 2")
    assert warning.what == "matches nobody: none of the users has one of the uids"
    ids["bob"] = 2001
    assert check([tmp_path], lambda kind, name: ids.get(name)).warnings == ()
