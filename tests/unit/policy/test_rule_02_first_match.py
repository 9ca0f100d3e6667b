"""Rule 2: who and what select; the first match decides; no match denies. Terms constrain: outside
of them a request is refused with the term's name and never falls through to a later rule."""

from __future__ import annotations

import pytest

from isod.core.match import first_match
from tests.unit.core.build import at

from .asking import ALICE, BOB, HOST, ask, faults, policy_of, rule, says, trial

DISK = '[{ address = "pci:0000:02:00.0" }]'


def test_without_a_rule_nothing_is_allowed() -> None:
    assert says(trial(), ALICE, "01:00.0") == "refused: denied"


def test_an_exception_is_an_earlier_deny() -> None:
    rules = (rule("no-disks", "deny", what='[{ class = "01" }]'), rule("all"))
    assert says(trial(*rules), ALICE, "02:00.0") == "refused: denied"
    assert says(trial(*rules), ALICE, "05:00.0") == "allowed by all"
    assert says(trial(*reversed(rules)), ALICE, "02:00.0") == "refused: in_use_by_driver"


def test_a_rule_for_another_is_passed_over() -> None:
    rules = trial(
        rule("alice", what=DISK, who='[{ user = ["alice"] }]'),
        rule("bob", what='[{ class = "03" }]', who='[{ user = ["bob"] }]'),
    )
    assert says(rules, ALICE, "02:00.0") == "allowed by alice"
    assert says(rules, BOB, "02:00.0") == "refused: denied"
    assert says(rules, BOB, "05:00.0") == "allowed by bob"


@pytest.mark.parametrize(
    ("terms", "wishes", "term"),
    [
        ('hand_over = ["nodes"]', {"hand_over": "iommufd"}, "hand-over"),
        ('memlock = "1MiB"', {"memlock": 1 << 21}, "memlock"),
        ('reset = "whole-set"', {"reset": "if-owned"}, "reset"),
    ],
)
def test_outside_of_its_terms_a_rule_refuses_though_a_later_would_allow(
    terms: str, wishes: dict[str, object], term: str
) -> None:
    rules = trial(rule("narrow", terms=terms), rule("wide", terms='memlock = "8GiB"'))
    verdict = ask(rules, ALICE, "05:00.1", **wishes)
    assert verdict.reason == "terms"
    assert term in verdict.message or "reset sets" in verdict.message


def test_a_device_without_an_iommu_matches_only_where_the_rule_says_so() -> None:
    bare = HOST.devices[at("41:00.0")]
    for what in ('"anything"', '[{ address = "pci:0000:41:00.0" }]', '[{ vendor = "8086" }]'):
        assert first_match(policy_of(rule("all", what=what)), ALICE, bare) is None
    lab = policy_of(rule("lab", what='[{ address = "pci:0000:41:00.0", noiommu = true }]'))
    assert first_match(lab, ALICE, bare) == lab.rules[0]
    with_iommu = HOST.devices[at("01:00.0")]
    both = policy_of(rule("lab", what='[{ vendor = "8086", noiommu = true }]'))
    assert first_match(both, ALICE, with_iommu) is None


def test_a_deny_of_anything_reaches_devices_without_an_iommu() -> None:
    bare = HOST.devices[at("41:00.0")]
    rules = policy_of(
        rule("none", "deny"), rule("lab", what='[{ vendor = "8086", noiommu = true }]')
    )
    assert first_match(rules, ALICE, bare) == rules.rules[0]


def test_an_empty_table_is_a_fault_since_it_might_mean_anything() -> None:
    assert "matches nobody" in faults(rule("x", who="[{}]"))[0]
    assert "matches nothing" in faults(rule("x", what="[{}]"))[0]
    assert faults(rule("x", who="[]"))
    assert faults(rule("x", what="[]"))


def test_all_keys_of_a_table_must_match_and_one_of_several_tables() -> None:
    both = '[{ vendor = "10de", class = "02" }]'
    either = '[{ vendor = "10de" }, { class = "02" }]'
    assert says(trial(rule("x", what=both)), ALICE, "05:00.0") == "refused: denied"
    assert says(trial(rule("x", what=either)), ALICE, "05:00.0") == "allowed by x"
