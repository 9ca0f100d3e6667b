"""Policy files: what they may say, and that each fault names its place."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from isod.model.policy import Limits, Who
from isod.model.terms import Terms
from isod.policy.folder import PolicyError, load

RULE = """
[[rule]]
name = "one"
effect = "allow"
who = "anyone"
what = [{ vendor = "8086" }]
"""
_DIGITS = "9" * 5000


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("version = 1\n" + text)
    return folder


def problems(folder: Path) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        load([folder], 1)
    return caught.value.problems


def test_no_file_at_all_allows_nothing(tmp_path: Path) -> None:
    assert load([tmp_path, tmp_path / "missing"], 1).rules == ()


def test_a_rule_with_all_its_terms(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.toml",
        RULE + '[rule.terms]\nhand_over = ["nodes"]\nmemlock = "8GiB"\nscrub = "require"\n'
        'take_from = ["nvme"]\n',
    )
    [rule] = load([tmp_path], 1).rules
    assert rule.terms == Terms(("nodes",), 8 << 30, "require", take_from=("nvme",))
    assert (rule.who, rule.file) == (None, "a.toml")


def test_a_basename_in_a_later_folder_hides_the_earlier(tmp_path: Path) -> None:
    early = write(tmp_path / "usr", "50.toml", RULE)
    write(early, "60.toml", RULE.replace('"one"', '"two"'))
    late = write(tmp_path / "etc", "50.toml", RULE.replace('"one"', '"mine"'))
    assert [rule.name for rule in load([early, late], 1).rules] == ["mine", "two"]


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", RULE)
    write(tmp_path, "b.toml", RULE)
    assert problems(tmp_path) == ("b.toml: rule one: the name is taken, by one in a.toml",)


def test_faults_of_quirks_name_their_file_as_well(tmp_path: Path) -> None:
    quirk = '[[quirk]]\nname = "q"\ndevices = [{ pool = "gone" }]\n'
    write(tmp_path, "a.toml", quirk)
    write(tmp_path, "b.toml", quirk.replace('pool = "gone"', 'vendor = "8086"'))
    assert problems(tmp_path) == (
        "a.toml: quirk q: there is no pool gone",
        "b.toml: quirk q: the name is taken, by one in a.toml",
    )


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        (RULE.replace("vendor", "vender"), "rule 1 (one), what 1, vender", "unknown key"),
        (RULE.replace('"8086"', '"80"'), "rule 1 (one), what 1, vendor", "pattern"),
        (RULE.replace('name = "one"\n', ""), "rule 1, name", "missing"),
        (RULE.replace("allow", "permit"), "rule 1 (one), effect", "'allow' or 'deny'"),
        (RULE + '[rule.terms]\nmemlock = "8 apples"\n', "rule 1 (one), terms, memlock", "a size"),
        (RULE + "[rule.terms]\nmemlock = true\n", "rule 1 (one), terms, memlock", ""),
        (RULE.replace('"anyone"', "[{}]"), "rule 1 (one), who", "matches nobody"),
        (RULE.replace('vendor = "8086"', ""), "rule 1 (one), what", "matches nothing"),
        (RULE.replace('"anyone"', '[{ uid = ["9-1"] }]'), "rule 1 (one), who", "lower"),
        ('[admin]\nwho = [{ unit = ["x.service"] }]\n', "admin, who", "say user"),
        ('[admin]\nwho = [{ uid = ["0-9999"] }]\n', "admin, who", "at most 32"),
        ("[limits]\nconnections = 0\n", "limits, connections", "greater"),
        ('[limits]\nhello = "soon"\n', "limits, hello", "a time is"),
        (RULE.replace("vendor = ", "address = true, vendor = "), "what 1, address", "string"),
        (RULE + "[rule.terms]\ncritical_ok = [7]\n", "terms, critical_ok 1", "string"),
        (RULE + f"[rule.terms]\nmemlock = '{_DIGITS}'\n", "terms, memlock", "a size"),
        (f"[limits]\nhello = '{_DIGITS}s'\n", "limits, hello", "a time is"),
        ('[limits]\nhello = "9000h"\n', "limits, hello", "less"),
        ("rule = 3", "rule", ""),
        ("rule = " + "[" * 5000, "", "nested too deeply"),
        (f"rule = {_DIGITS}", "", "a number"),
        ("x = \ny = 1\n", "", "line 2"),
    ],
)
def test_a_fault_names_file_and_place(tmp_path: Path, text: str, place: str, what: str) -> None:
    write(tmp_path, "50-x.toml", text)
    found = problems(tmp_path)
    assert any(p.startswith("50-x.toml: ") and place in p and what in p for p in found), found


def test_limits_stand_in_one_file_and_administrators_in_many(tmp_path: Path) -> None:
    limits = '[limits]\nconnections = 9\nconnections_per_uid = 8\nrequests = 7\nhello = "6s"\n'
    write(tmp_path, "a.toml", limits + "[admin]\nwho = [{ uid = [1000] }]\n")
    write(tmp_path, "b.toml", '[admin]\nwho = [{ gid = ["50-51"] }]\n')
    policy = load([tmp_path], 1)
    assert policy.limits == Limits(connections=9, connections_per_uid=8, requests=7, hello=6.0)
    assert policy.admins == (Who(uids=((1000, 1000),)), Who(gids=((50, 51),)))
    write(tmp_path, "c.toml", limits)
    assert problems(tmp_path) == ("c.toml: limits: stand in an earlier file already",)


def test_a_fault_in_a_list_of_tables_is_told_once(tmp_path: Path) -> None:
    """Not also that a word would do in its place."""
    write(tmp_path, "a.toml", RULE.replace("vendor", "vender"))
    write(tmp_path, "b.toml", RULE.replace('"anyone"', '"anyon"'))
    assert problems(tmp_path) == (
        "a.toml: rule 1 (one), what 1, vender: unknown key",
        "b.toml: rule 1 (one), who: input should be 'anyone'",
    )


def test_a_version_is_required(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(RULE)
    assert problems(tmp_path) == ("a.toml: version: is missing",)


def test_deny_has_no_terms(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", RULE.replace("allow", "deny") + '[rule.terms]\nscrub = "off"\n')
    assert "a deny has no terms" in problems(tmp_path)[0]


def test_an_unknown_user_is_a_warning_and_matches_nobody(tmp_path: Path) -> None:
    who = f'[{{ user = ["nobody-called-so", "{getpass.getuser()}"] }}, {{ group = ["no-such"] }}]'
    write(tmp_path, "a.toml", RULE.replace('"anyone"', who))
    policy = load([tmp_path], 1)
    assert len(policy.warnings) == 2
    assert policy.rules[0].who is not None
    assert [len(who.uids or ()) for who in policy.rules[0].who] == [1, 0]
    assert policy.rules[0].who[1].groups == ()


def test_what_is_no_text_or_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "b.toml").mkdir()
    (tmp_path / "c.toml").write_text("#" * (1 << 20) + "\n")
    assert [problem.split(": ", 1) for problem in problems(tmp_path)] == [
        ["a.toml", "is not UTF-8"],
        ["b.toml", "cannot be read: Is a directory"],
        ["c.toml", "is larger than 1 MiB"],
    ]
