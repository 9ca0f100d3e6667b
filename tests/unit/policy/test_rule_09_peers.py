"""Rule 9: unit is the system unit; names under a user's manager match only as user_unit together
with the user. What the kernel does not tell matches nothing. An unknown name is a warning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from isod.policy.check import check

from .asking import ALICE, BOB, faults, peer, rule, says, trial

UNIT = '[{ unit = ["fwd.service"] }]'


def test_a_system_unit_matches() -> None:
    rules = trial(rule("x", who=UNIT))
    assert says(rules, replace(ALICE, unit="fwd.service"), "01:00.0") == "allowed by x"
    assert says(rules, replace(ALICE, unit="other.service"), "01:00.0") == "refused: denied"


def test_a_unit_that_a_user_named_so_does_not() -> None:
    mallory = replace(ALICE, unit="user@1000.service", user_unit="fwd.service")
    assert says(trial(rule("x", who=UNIT)), mallory, "01:00.0") == "refused: denied"


def test_a_users_unit_needs_the_user() -> None:
    who = '[{ user_unit = ["vm.service"], user = ["alice"] }]'
    rules = trial(rule("x", who=who))
    for name, said in (("alice", "allowed by x"), ("bob", "refused: denied")):
        asker = peer(name, unit="user@1000.service", user_unit="vm.service")
        assert says(rules, asker, "01:00.0") == said
    assert "say user or uid, too" in faults(rule("x", who='[{ user_unit = ["vm.service"] }]'))[0]


@pytest.mark.parametrize(
    "who",
    [UNIT, '[{ cgroup = ["*"] }]', '[{ label = ["*"] }]', '[{ group = ["ml"] }]'],
)
def test_what_is_not_known_of_a_peer_matches_nothing(who: str) -> None:
    assert says(trial(rule("x", who=who)), ALICE, "01:00.0") == "refused: denied"


@pytest.mark.parametrize("key", ["unit", "cgroup"])
def test_where_it_is_not_known_where_a_peer_runs_denies_hold(key: str) -> None:
    """It may be just the one that is meant."""
    deny = rule("no", "deny", who=f'[{{ {key} = ["evil.service"] }}]')
    rules = trial(deny, rule("yes"))
    assert says(rules, ALICE, "01:00.0") == "allowed by yes"
    assert says(rules, replace(ALICE, cgroup=None), "01:00.0") == "refused: denied"


def test_of_a_deny_the_other_keys_have_to_match_all_the_same() -> None:
    deny = rule("no", "deny", who='[{ unit = ["evil.service"], user = ["bob"] }]')
    rules = trial(deny, rule("yes"))
    assert says(rules, replace(ALICE, cgroup=None), "01:00.0") == "allowed by yes"
    assert says(rules, replace(BOB, cgroup=None), "01:00.0") == "refused: denied"


def test_cgroups_and_labels_are_patterns_over_the_whole() -> None:
    rules = trial(rule("x", who='[{ cgroup = ["machine.slice/libpod-*.scope"] }]'))
    inside = replace(ALICE, cgroup="/machine.slice/libpod-77.scope")
    assert says(rules, inside, "01:00.0") == "allowed by x"
    deeper = replace(ALICE, cgroup="/user.slice/machine.slice/libpod-77.scope")
    assert says(rules, deeper, "01:00.0") == "refused: denied"


def test_uids_may_be_ranges_and_names_are_looked_up() -> None:
    rules = trial(rule("x", who='[{ uid = ["900-999", 1001] }]'))
    assert says(rules, peer("dpdk"), "01:00.0") == "allowed by x"
    assert says(rules, peer("bob"), "01:00.0") == "allowed by x"
    assert says(rules, ALICE, "01:00.0") == "refused: denied"
    rules = trial(rule("x", who='[{ group = ["ml"] }]'))
    assert says(rules, peer("alice", groups=["ml"]), "01:00.0") == "allowed by x"


def test_a_user_by_name_must_also_be_in_the_range_of_uids() -> None:
    rules = trial(rule("x", who='[{ user = ["alice", "bob"], uid = ["1001-2999"] }]'))
    assert says(rules, peer("bob"), "01:00.0") == "allowed by x"
    assert says(rules, ALICE, "01:00.0") == "refused: denied"
    assert says(rules, replace(ALICE, uid=2500), "01:00.0") == "refused: denied"


def test_a_group_by_name_and_one_by_number_must_both_be_the_peers() -> None:
    rules = trial(rule("x", who='[{ group = ["ml"], gid = ["900-999"] }]'))
    assert says(rules, peer("alice", groups=["ml", "dpdk"]), "01:00.0") == "allowed by x"
    assert says(rules, peer("alice", groups=["ml"]), "01:00.0") == "refused: denied"
    assert says(rules, peer("alice", groups=["dpdk"]), "01:00.0") == "refused: denied"


def test_an_unknown_name_matches_nobody_whatever_numbers_stand_beside_it() -> None:
    rules = trial(rule("x", who='[{ user = ["carol-of-nowhere"], uid = [1000] }]'))
    assert says(rules, ALICE, "01:00.0") == "refused: denied"
    rules = trial(rule("x", who='[{ group = ["no-such"], gid = [50] }]'))
    assert says(rules, peer("alice", groups=["ml"]), "01:00.0") == "refused: denied"


def test_an_unknown_name_is_a_warning_and_matches_nobody(tmp_path: Path) -> None:
    text = rule("x", who='[{ user = ["carol-of-nowhere"] }]')
    assert says(trial(text), ALICE, "01:00.0") == "refused: denied"
    (tmp_path / "a.toml").write_text("version = 1\n" + text)
    [warning] = check([tmp_path]).warnings
    assert warning.what == "no user is called carol-of-nowhere"
