"""Rule 4: on iommufd siblings need no allow, but a deny that matches them refuses, and so does the
host guard. Group and nodes reach every endpoint of the group, so there each must be allowed."""

from __future__ import annotations

import pytest

from isod.model.critical import CriticalFacts, CriticalUse
from tests.unit.core.build import at

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
