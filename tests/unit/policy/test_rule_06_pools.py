"""Rule 6: pools are devices under a name. The rule decides first."""

from __future__ import annotations

from .asking import ALICE, BOB, faults, rule, says, trial

GPUS = '[[pool]]\nname = "gpus"\ndevices = [{ vendor = "10de", class = "0300" }]\n'
POOL = '[{ pool = "gpus" }]'


def test_a_rule_for_a_pool_matches_its_devices_alone() -> None:
    rules = trial(GPUS, rule("ml", what=POOL))
    assert says(rules, ALICE, "05:00.0") == "allowed by ml"
    assert says(rules, ALICE, "05:00.1") == "refused: denied"


def test_keys_beside_the_pool_narrow_it() -> None:
    rules = trial(GPUS, rule("ml", what='[{ pool = "gpus", slot = ["7"] }]'))
    assert says(rules, ALICE, "05:00.0") == "refused: denied"


def test_who_may_not_have_a_pool_is_denied_whatever_is_in_it() -> None:
    rules = trial(GPUS, rule("ml", what=POOL, who='[{ user = ["alice"] }]'))
    assert says(rules, BOB, "05:00.0") == "refused: denied"


def test_a_pool_that_is_not_there_is_a_fault() -> None:
    assert faults(rule("ml", what=POOL)) == ("50-test.toml: rule ml: there is no pool gpus",)


def test_pools_have_names_of_their_own_and_do_not_nest() -> None:
    assert "the name is taken" in faults(GPUS, GPUS)[0]
    nested = GPUS.replace('[{ vendor = "10de", class = "0300" }]', POOL)
    assert "pools do not nest" in faults(nested)[0]
