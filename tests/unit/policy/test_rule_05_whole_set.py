"""Rule 5: other groups that whole-set pulls in need an allow or may_take; they arrive with fds."""

from __future__ import annotations

from .asking import ALICE, ask, rule, says, trial

CARD = '[{ vendor = "10de", class = "03" }]'
SOUND = '[{ vendor = "10de", class = "0403" }]'
WHOLE = 'reset = "whole-set"\n'


def test_what_comes_along_may_be_taken_if_the_rule_says_so() -> None:
    verdict = ask(
        trial(rule("card", what=CARD, terms=f"{WHOLE}may_take = {SOUND}")), ALICE, "05:00.0"
    )
    assert verdict.words == "allowed by card"
    assert [address.short for address in verdict.along] == ["05:00.1"]


def test_or_if_a_rule_allows_it() -> None:
    rules = trial(rule("card", what=CARD, terms=WHOLE), rule("sound", what=SOUND))
    assert says(rules, ALICE, "05:00.0") == "allowed by card"


def test_else_the_grant_is_refused() -> None:
    verdict = ask(trial(rule("card", what=CARD, terms=WHOLE)), ALICE, "05:00.0")
    assert verdict.reason == "denied"
    assert "a hot reset would hit 05:00.1" in verdict.message


def test_a_deny_is_stronger_than_may_take() -> None:
    rules = trial(
        rule("quiet", "deny", what=SOUND),
        rule("card", what=CARD, terms=f"{WHOLE}may_take = {SOUND}"),
    )
    assert says(rules, ALICE, "05:00.0") == "refused: denied"


def test_may_take_is_no_allow_for_who_asks_for_it() -> None:
    rules = trial(rule("card", what=CARD, terms=f"{WHOLE}may_take = {SOUND}"))
    assert says(rules, ALICE, "05:00.1") == "refused: denied"


def test_with_if_owned_nothing_comes_along() -> None:
    verdict = ask(trial(rule("card", what=CARD)), ALICE, "05:00.0")
    assert verdict.words == "allowed by card"
    assert verdict.along == ()


def test_a_client_may_wish_for_the_whole_set_itself() -> None:
    rules = trial(rule("card", what=CARD, terms=f"may_take = {SOUND}"))
    assert len(ask(rules, ALICE, "05:00.0", reset="whole-set").along) == 1
