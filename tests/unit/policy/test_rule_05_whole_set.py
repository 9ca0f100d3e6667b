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


def test_what_an_allow_lets_in_is_under_the_terms_of_that_rule() -> None:
    rules = trial(
        rule("card", what=CARD, terms=f'{WHOLE}hand_over = ["iommufd", "group"]'),
        rule("sound", what=SOUND, terms='hand_over = ["group", "nodes"]\nanchor = ["cgroup"]'),
    )
    assert says(rules, ALICE, "05:00.0") == "refused: terms_conflict"
    rules = trial(
        rule("card", what=CARD, terms=f'{WHOLE}hand_over = ["iommufd", "group"]'),
        rule("sound", what=SOUND, terms='hand_over = ["group", "nodes"]\nmemlock = "1MiB"'),
    )
    assert ask(rules, ALICE, "05:00.0").hand_over == "group"
    assert says(rules, ALICE, "05:00.0", hand_over="iommufd") == "refused: terms"


def test_of_the_memlocks_of_what_comes_along_the_smallest_holds() -> None:
    rules = trial(
        rule("card", what=CARD, terms=f'{WHOLE}memlock = "2MiB"'),
        rule("sound", what=SOUND, terms='memlock = "1MiB"'),
    )
    verdict = ask(rules, ALICE, "05:00.0", memlock=2 << 20)
    assert verdict.reason == "terms"
    assert "the rule sound allows" in verdict.message
    assert says(rules, ALICE, "05:00.0", memlock=1 << 20) == "allowed by card"


def test_what_may_be_taken_is_under_the_terms_of_the_rule_that_takes_it() -> None:
    terms = f'{WHOLE}may_take = {SOUND}\nmemlock = "2MiB"\nhand_over = ["nodes"]'
    rules = trial(rule("card", what=CARD, terms=terms))
    assert ask(rules, ALICE, "05:00.0", memlock=2 << 20).hand_over == "nodes"


def test_what_an_allow_lets_in_counts_in_the_quota_of_that_rule() -> None:
    none = rule("sound", what=SOUND, terms="quota = { devices = 0 }")
    assert says(trial(rule("card", what=CARD, terms=WHOLE), none), ALICE, "05:00.0") == (
        "refused: quota"
    )
    both = '[{ vendor = "10de" }]'
    one = rule("nvidia", what=both, terms=f"{WHOLE}quota = {{ devices = 1 }}")
    assert says(trial(one), ALICE, "05:00.0") == "refused: quota"


def test_what_may_be_taken_does_not_count() -> None:
    terms = f"{WHOLE}may_take = {SOUND}\nquota = {{ devices = 1, total = 1 }}"
    assert says(trial(rule("card", what=CARD, terms=terms)), ALICE, "05:00.0") == "allowed by card"
