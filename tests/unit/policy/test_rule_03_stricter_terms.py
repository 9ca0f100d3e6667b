"""Rule 3: every requested device is decided on its own; all must be allowed. Where their terms
differ the stricter holds; where nothing is left the reason is terms_conflict."""

from __future__ import annotations

from .asking import ALICE, ask, rule, says, trial

CARD, SOUND = '[{ address = "pci:0000:05:00.0" }]', '[{ address = "pci:0000:05:00.1" }]'


def test_each_device_has_a_rule_of_its_own() -> None:
    rules = trial(rule("card", what=CARD), rule("sound", what=SOUND))
    assert says(rules, ALICE, "05:00.0", "05:00.1") == "allowed by card and sound"


def test_one_that_is_denied_refuses_them_all() -> None:
    verdict = ask(trial(rule("card", what=CARD)), ALICE, "05:00.0", "05:00.1")
    assert verdict.reason == "denied"
    assert "05:00.1" in verdict.message


def test_of_two_lists_of_hand_overs_what_both_allow_is_left() -> None:
    rules = trial(
        rule("card", what=CARD, terms='hand_over = ["iommufd", "group"]'),
        rule("sound", what=SOUND, terms='hand_over = ["group", "nodes"]'),
    )
    assert ask(rules, ALICE, "05:00.0", "05:00.1").hand_over == "group"
    assert ask(rules, ALICE, "05:00.0").hand_over == "iommufd"
    wish = {"hand_over": "nodes"}
    assert says(rules, ALICE, "05:00.0", "05:00.1", **wish) == "refused: terms"


def test_terms_that_leave_nothing_conflict() -> None:
    rules = trial(
        rule("card", what=CARD, terms='hand_over = ["iommufd"]'),
        rule("sound", what=SOUND, terms='hand_over = ["nodes"]'),
    )
    assert says(rules, ALICE, "05:00.0", "05:00.1") == "refused: terms_conflict"


def test_the_smaller_memlock_holds() -> None:
    rules = trial(
        rule("card", what=CARD, terms='memlock = "2MiB"'),
        rule("sound", what=SOUND, terms='memlock = "1MiB"'),
    )
    assert says(rules, ALICE, "05:00.0", memlock=2 << 20) == "allowed by card"
    wish = {"memlock": 2 << 20}
    assert says(rules, ALICE, "05:00.0", "05:00.1", **wish) == "refused: terms"


def test_a_quota_counts_the_devices_of_its_own_rule() -> None:
    rules = trial(
        rule("card", what=CARD, terms="quota = { devices = 1 }"),
        rule("rest", terms="quota = { devices = 1 }"),
    )
    assert says(rules, ALICE, "05:00.0", "05:00.1") == "allowed by card and rest"
    assert says(rules, ALICE, "05:00.1", "01:00.0") == "refused: quota"
