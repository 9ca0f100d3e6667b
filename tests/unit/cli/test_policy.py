"""``isoctl policy``: its screens, JSON and exit codes. No daemon runs."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from isod.cli.isoctl import isoctl

EXAMPLES = Path(__file__).parents[3] / "policy" / "examples"
CASES = EXAMPLES / "cases" / "50-vmm-user.toml"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(isoctl, ["policy", *map(str, arguments)])


def test_check_lists_warnings_and_is_content() -> None:
    ran = run("check", EXAMPLES / "50-vmm-user.toml")
    assert ran.output.splitlines() == [
        "warning  50-vmm-user.toml: no user is called alice",
        "1 file, 1 rule: no faults, 1 warning.",
    ]
    assert ran.exit_code == 0
    assert run("check", "--strict", EXAMPLES / "50-vmm-user.toml").exit_code == 1


def test_check_fails_on_a_fault(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("version = 1\nrules = 3\n")
    ran = run("check", tmp_path)
    assert ran.output.splitlines() == [
        "fault    x.toml: rules: unknown key",
        "1 file, 1 fault: not to be used.",
    ]
    assert ran.exit_code == 1
    told = json.loads(run("check", tmp_path, "--json").output)
    assert told["faults"] == [{"file": "x.toml", "place": "rules", "what": "unknown key"}]
    assert run("check", tmp_path / "missing").exit_code == 2


def test_check_of_an_empty_folder_says_what_that_means(tmp_path: Path) -> None:
    assert run("check", tmp_path).output == "There is no policy file here: nothing is allowed.\n"


def test_cases_that_come_out_as_expected() -> None:
    ran = run("test", CASES)
    assert ran.exit_code == 0
    first, *_, last = ran.output.splitlines()
    assert first == f"ok   {'Alice gets the disk':<50} allowed by alice-vm"
    assert last == "5 cases: all as expected."


def test_a_case_that_differs_says_why(tmp_path: Path) -> None:
    text = CASES.read_text().replace('"../', f'"{EXAMPLES}/')
    file = tmp_path / "cases.toml"
    file.write_text(text.replace('refused = "denied"', 'allowed = "alice-vm"', 1))
    ran = run("test", file)
    assert ran.exit_code == 1
    assert ran.output.splitlines()[1:4] == [
        f"FAIL {'Bob does not':<50} refused: denied",
        "     expected allowed by alice-vm",
        "     02:00.0 is not for you: no rule allows it",
    ]
    assert ran.output.splitlines()[-1] == "5 cases: 1 differs."
    told = json.loads(run("test", file, "--json").output)["files"][0]["cases"]
    assert [case["as_expected"] for case in told] == [True, False, True, True, True]
    assert (told[1]["refused"], told[0]["allowed"]) == ("denied", ["alice-vm"])


def test_another_policy_and_another_host_may_be_given(tmp_path: Path) -> None:
    ran = run("test", CASES, "--host", "simulated:shared-bus")
    assert "refused: not_found" in ran.output
    assert ran.exit_code == 1
    ran = run("test", CASES, "--policy", EXAMPLES / "50-gpu-pool.toml")
    assert "refused: denied" in ran.output.splitlines()[0]
    assert ran.exit_code == 1


def test_what_cannot_be_tried_says_so(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("version = 9\n")
    for ran in (run("test", bad), run("test", CASES, "--host", "simulated:none")):
        assert ran.exit_code == 1
        assert ran.output.startswith("Error: ")
    ran = run("test", CASES, "--policy", bad)
    assert "version" in ran.output
    assert ran.exit_code == 1
