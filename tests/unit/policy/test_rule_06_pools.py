"""Rule 6: pools are devices under a name. The rule decides first."""

from __future__ import annotations

from typing import Any

from isod.model.peer import Peer
from isod.model.request import Acquire
from isod.policy.trial import Trial
from tests.unit.core.build import device, host

from .asking import ALICE, BOB, faults, rule, says, trial

GPUS = '[[pool]]\nname = "gpus"\ndevices = [{ vendor = "10de", class = "0300" }]\n'
POOL = '[{ pool = "gpus" }]'


def test_a_rule_for_a_pool_matches_its_devices_alone() -> None:
    rules = trial(GPUS, rule("ml", what=POOL))
    assert says(rules, ALICE, "05:00.0") == "allowed by ml"
    assert says(rules, ALICE, "05:00.1") == "refused: denied"


CARDS = host(
    *(
        device(f"0{slot}:00.0", slot, vendor="10de", device_class="030000", numa_node=slot // 3)
        for slot in range(1, 5)
    )
)


def chosen(tried: Trial, who: Peer, **wanted: Any) -> list[str]:
    """Which devices a wish for the pool would get."""
    wish = Acquire.model_validate({"devices": [{"pool": "gpus", **wanted}]})
    return [one.address.short for one in tried.judge(who, wish).plan.devices]


def test_who_asks_for_a_pool_gets_a_member_that_a_rule_allows() -> None:
    """The rule decides before anything else is looked at."""
    all_of_them = trial(GPUS, rule("ml", what=POOL), on=CARDS)
    assert chosen(all_of_them, ALICE) == ["01:00.0"]
    but_two = trial(
        GPUS,
        rule("not-these", "deny", what='[{ address = "pci:0000:0[12]:*" }]'),
        rule("ml", what=POOL),
        on=CARDS,
    )
    assert chosen(but_two, ALICE) == ["03:00.0"]


def test_several_members_are_near_the_node_that_was_asked_for() -> None:
    rules = trial(
        GPUS,
        rule("no", "deny", what='[{ address = "pci:0000:01:*" }]'),
        rule("ml", what=POOL),
        on=CARDS,
    )
    assert chosen(rules, ALICE, count=2, numa=1) == ["03:00.0", "04:00.0"]
    assert chosen(rules, ALICE, numa=0) == ["02:00.0"]


def test_who_is_denied_the_pool_learns_nothing_of_its_members() -> None:
    rules = trial(GPUS, rule("ml", what=POOL, who='[{ user = ["bob"] }]'), on=CARDS)
    wish = Acquire.model_validate({"devices": [{"pool": "gpus"}]})
    verdict = rules.ask(ALICE, wish)
    assert verdict.reason == "denied"
    assert "0" not in verdict.message.replace("10de", "")


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
