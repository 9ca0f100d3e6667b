"""Rule 4: on iommufd siblings need no allow, but a deny that matches them refuses, and so does the
host guard. Group and nodes reach every endpoint of the group, so there each must be allowed."""

from __future__ import annotations

import pytest

from isod.model.critical import CriticalFacts, CriticalUse
from tests.unit.core.build import at, bridge, device, host

from .asking import ALICE, BOB, ask, rule, says, trial

FIRST = rule("first", what='[{ address = "pci:0000:01:00.0" }]')
SECOND = '[{ address = "pci:0000:01:00.1" }]'


def test_on_iommufd_a_sibling_comes_along_unasked() -> None:
    verdict = ask(trial(FIRST), ALICE, "01:00.0")
    assert verdict.words == "allowed by first"
    assert [address.short for address in verdict.along] == ["01:00.1"]


def test_a_deny_of_the_sibling_refuses_the_grant() -> None:
    verdict = ask(trial(rule("not-that", "deny", what=SECOND), FIRST), ALICE, "01:00.0")
    assert verdict.reason == "denied"
    assert "01:00.1 shares the group" in verdict.message


def test_a_deny_for_somebody_else_does_not() -> None:
    deny = rule("not-bob", "deny", what=SECOND, who='[{ user = ["bob"] }]')
    assert says(trial(deny, FIRST), ALICE, "01:00.0") == "allowed by first"
    assert says(trial(deny, FIRST), BOB, "01:00.0") == "refused: denied"


@pytest.mark.parametrize("hand_over", ["group", "nodes"])
def test_where_the_client_reaches_the_sibling_it_needs_an_allow(hand_over: str) -> None:
    assert says(trial(FIRST), ALICE, "01:00.0", hand_over=hand_over) == "refused: denied"
    both = trial(FIRST, rule("second", what=SECOND))
    assert says(both, ALICE, "01:00.0", hand_over=hand_over) == "allowed by first"


def test_a_bridge_in_the_group_needs_no_allow() -> None:
    rules = trial(rule("x", what='[{ class = "02" }]', terms='take_from = ["e1000", "shpchp"]'))
    assert says(rules, ALICE, "04:01.0", hand_over="group") == "allowed by x"


def test_the_guard_looks_at_siblings_too() -> None:
    facts = CriticalFacts({at("01:00.1"): (CriticalUse("swap", "holds swap"),)})
    assert says(trial(FIRST, facts=facts), ALICE, "01:00.0") == "refused: host_critical"


@pytest.mark.parametrize("hand_over", ["group", "nodes"])
def test_what_the_client_reaches_is_under_the_terms_of_its_own_rule(hand_over: str) -> None:
    parked = trial(FIRST, rule("second", what=SECOND, terms='hand_over = ["iommufd"]'))
    verdict = ask(parked, ALICE, "01:00.0", hand_over=hand_over)
    assert verdict.reason == "terms"
    assert f"{hand_over} would reach 01:00.1, which rule second does not allow" in verdict.message
    assert says(parked, ALICE, "01:00.0", hand_over="iommufd") == "allowed by first"


def test_a_client_without_a_wish_gets_a_hand_over_that_the_siblings_rule_allows() -> None:
    wide = rule(
        "first", what='[{ address = "01:00.0" }]', terms='hand_over = ["group", "nodes", "iommufd"]'
    )
    for theirs, got in (("nodes", "nodes"), ("iommufd", "iommufd")):
        second = rule("second", what=SECOND, terms=f'hand_over = ["{theirs}"]')
        assert ask(trial(wide, second), ALICE, "01:00.0").hand_over == got


def test_where_no_hand_over_is_left_their_terms_conflict() -> None:
    first = rule("first", what='[{ address = "01:00.0" }]', terms='hand_over = ["group"]')
    second = rule("second", what=SECOND, terms='hand_over = ["nodes"]')
    assert says(trial(first, second), ALICE, "01:00.0") == "refused: terms_conflict"


def test_a_siblings_memlock_holds_where_it_is_reached() -> None:
    first = rule("first", what='[{ address = "01:00.0" }]', terms='memlock = "2MiB"')
    second = rule("second", what=SECOND, terms='memlock = "1MiB"')
    assert says(trial(first, second), ALICE, "01:00.0", memlock=2 << 20) == "allowed by first"
    verdict = ask(trial(first, second), ALICE, "01:00.0", memlock=2 << 20, hand_over="group")
    assert verdict.reason == "terms"
    assert "the rule second allows" in verdict.message


def test_nobody_asked_for_a_sibling_so_it_does_not_count() -> None:
    second = rule("second", what=SECOND, terms="quota = { devices = 0 }")
    assert says(trial(FIRST, second), ALICE, "01:00.0", hand_over="nodes") == "allowed by first"


def test_a_sibling_that_is_granted_as_a_whole_set_is_not_reached_with_less() -> None:
    port = bridge("00:01.0", 9, below="01")
    second = rule("second", what=SECOND, terms='reset = "whole-set"')
    inside = host(port, device("01:00.0", 1), device("01:00.1", 1))
    wider = host(port, device("01:00.0", 1), device("01:00.1", 1), device("01:00.2", 2))
    for on, said in ((inside, "allowed by first"), (wider, "refused: terms")):
        rules = trial(FIRST, second, on=on)
        assert says(rules, ALICE, "01:00.0", hand_over="group") == said
        assert says(rules, ALICE, "01:00.0") == "allowed by first"
    verdict = ask(
        trial(FIRST, second, on=inside), ALICE, "01:00.0", hand_over="group", reset="if-owned"
    )
    assert "rule second grants whole reset sets only" in verdict.message


def test_a_siblings_rule_says_from_which_driver_the_sibling_is_taken_and_no_more() -> None:
    """The bridge of the group is taken from its driver as the rule says that was asked of."""
    first = rule("first", what='[{ address = "04:02.0" }]', terms='take_from = ["e1000", "shpchp"]')
    nics = '[{ class = "02" }]'
    for theirs, said in (('"e1000"', "allowed by first"), ("", "refused: in_use_by_driver")):
        rules = trial(first, rule("second", what=nics, terms=f"take_from = [{theirs}]"))
        assert says(rules, ALICE, "04:02.0", hand_over="group") == said
        assert says(rules, ALICE, "04:02.0", hand_over="iommufd") == "allowed by first"


def test_a_siblings_rule_need_not_repeat_what_is_critical_and_may_be_had() -> None:
    facts = CriticalFacts({at("01:00.0"): (CriticalUse("swap", "holds swap"),)})
    first = rule(
        "first", what='[{ address = "01:00.0" }]', terms='critical_ok = ["pci:0000:01:00.0"]'
    )
    rules = trial(first, rule("second", what=SECOND), facts=facts)
    assert says(rules, ALICE, "01:00.0", hand_over="group") == "allowed by first"
