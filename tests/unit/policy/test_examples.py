"""The example policies: each loads, and allows and refuses what its cases say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isod.policy.cases import read_cases
from isod.policy.check import check
from isod.policy.folder import load
from isod.policy.host import see_host
from isod.policy.trial import Trial

ROOT = Path(__file__).parents[3] / "policy"
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


def test_the_default_allows_nothing() -> None:
    report = check([ROOT])
    assert [file.name for file in report.files] == ["00-nothing.toml"]
    assert report.policy is not None
    assert report.policy.rules == ()


def test_the_examples_stand_beside_each_other() -> None:
    rules = load([ROOT / "examples"], 1).rules
    assert [rule.file for rule in rules] == [path.name for path in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_its_cases_expect(example: Path) -> None:
    cases = read_cases(example.parent / "cases" / example.name)
    assert [place.resolve() for place in cases.policy] == [example]
    report = check(cases.policy, cases.look_up)
    assert not report.faults
    assert not report.warnings
    assert report.policy is not None
    assert cases.host is not None
    seen = see_host(cases.host)
    tried = Trial(report.policy, seen.snapshot, seen.facts).run(cases.cases)
    assert [(one.case.name, one.differences) for one in tried if one.differences] == []
    assert any(one.verdict.reason is not None for one in tried), "it refuses something"


def test_the_page_lists_every_example() -> None:
    page = (ROOT / "README.md").read_text()
    assert re.findall(r"\(examples/(.+?)\)", page) == [
        name.name for name in sorted(EXAMPLES, key=lambda path: page.index(path.name))
    ]


def test_the_page_shows_the_cases_of_an_example_as_they_are_written(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text()
    shown = page.rpartition("```toml\n")[2].partition("```")[0]
    file = tmp_path / "cases.toml"
    file.write_text(shown.replace("../", f"{ROOT}/examples/"))
    cases = read_cases(file)
    report = check(cases.policy, cases.look_up)
    assert report.policy is not None
    assert cases.host is not None
    seen = see_host(cases.host)
    [tried] = Trial(report.policy, seen.snapshot, seen.facts).run(cases.cases)
    assert tried.differences == ()
