"""Rule 10: an ordinary peer is told the rule that decided about it, never other people's rules."""

from __future__ import annotations

from .asking import ALICE, BOB, ask, rule, trial

RULES = (
    rule("bobs-secret-project", who='[{ user = ["bob"] }]', what='[{ class = "03" }]'),
    rule("hands-off", "deny", what='[{ class = "01" }]'),
    rule("alice", who='[{ user = ["alice"] }]', what='[{ vendor = "8086" }]'),
)


def test_the_rule_that_decided_is_named() -> None:
    assert "rule hands-off denies it" in ask(trial(*RULES), ALICE, "02:00.0").message
    assert ask(trial(*RULES), ALICE, "01:00.0").rules == ("alice",)


def test_a_rule_for_somebody_else_is_not() -> None:
    for who in (ALICE, BOB):
        for device in ("01:00.0", "02:00.0", "04:01.0", "05:00.0", "05:00.1", "41:00.0"):
            for wishes in ({}, {"hand_over": "nodes"}, {"reset": "whole-set"}):
                verdict = ask(trial(*RULES), who, device, **wishes)
                told = f"{verdict.words} {verdict.message} {verdict.warnings}"
                other = "bobs-secret" if who is ALICE else "alice"
                assert other not in told


def test_where_no_rule_matched_none_is_named() -> None:
    assert ask(trial(*RULES), ALICE, "05:00.0").message == (
        "05:00.0 is not for you: no rule allows it"
    )
