"""Rules of meaning of the policy, each as a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from isod.core.decide import Decision, decide
from isod.core.stricter import merge
from isod.core.view import hand_overs
from isod.model.host import HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Policy, Who
from isod.model.reason import Reason, RefusedError
from isod.model.terms import Terms, What

from .build import ALICE, BOB, acquire, allow, at, bridge, deny, device, exactly, host, policy


def judge(
    rules: Policy, snapshot: HostSnapshot, *shorts: str, peer: Peer = ALICE, **wishes: Any
) -> Decision:
    request = acquire(*shorts, **wishes)
    requested = [snapshot.devices[at(short)] for short in shorts]
    return decide(rules, snapshot, peer, request, requested, hand_overs(snapshot.features))


def refused(rules: Policy, snapshot: HostSnapshot, *shorts: str, **wishes: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        judge(rules, snapshot, *shorts, **wishes)
    return caught.value


ONE = host(device("01:00.0", 1))
PAIR = host(device("01:00.0", 1), device("01:00.1", 1))


def test_no_rule_means_denied() -> None:
    assert refused(policy(), ONE, "01:00.0").refusal.reason is Reason.denied


def test_first_match_decides() -> None:
    rules = policy(deny(exactly("01:00.0"), name="hands-off"), allow(name="all"))
    error = refused(rules, ONE, "01:00.0")
    assert error.refusal.details["rule"] == "hands-off"
    assert judge(policy(allow(name="all"), deny()), ONE, "01:00.0").rule == "all"


def test_a_rule_for_another_user_does_not_match() -> None:
    rules = policy(allow(who=[Who(uids=((1000, 1000),))]))
    assert judge(rules, ONE, "01:00.0").rule == "allow"
    assert refused(rules, ONE, "01:00.0", peer=BOB).refusal.reason is Reason.denied


def test_supplementary_groups_count() -> None:
    rules = policy(allow(who=[Who(gids=((50, 50),))]))
    assert judge(rules, ONE, "01:00.0").rule == "allow"
    assert refused(rules, ONE, "01:00.0", peer=BOB).refusal.reason is Reason.denied


def test_keys_of_one_table_and_tables_or() -> None:
    both = What(vendor="8086", device_class="03")
    assert refused(policy(allow(both)), ONE, "01:00.0").refusal.reason is Reason.denied
    rules = policy(allow(both, What(vendor="8086", device="10d3")))
    assert judge(rules, ONE, "01:00.0").rule == "allow"


def test_an_address_pattern_matches_whole_addresses() -> None:
    wild = What(address="pci:0000:01:*")
    assert judge(policy(allow(wild)), ONE, "01:00.0").rule == "allow"


def test_every_requested_device_must_be_allowed() -> None:
    rules = policy(allow(exactly("01:00.0")))
    assert refused(rules, PAIR, "01:00.0", "01:00.1").refusal.reason is Reason.denied


def test_on_iommufd_a_sibling_needs_no_allow_but_a_deny_refuses() -> None:
    assert judge(policy(allow(exactly("01:00.0"))), PAIR, "01:00.0").hand_over == "iommufd"
    rules = policy(deny(exactly("01:00.1"), name="not-that"), allow(exactly("01:00.0")))
    assert refused(rules, PAIR, "01:00.0").refusal.details["rule"] == "not-that"


@pytest.mark.parametrize("hand_over", ["group", "nodes"])
def test_group_and_nodes_reach_every_endpoint_so_each_needs_an_allow(hand_over: str) -> None:
    rules = policy(allow(exactly("01:00.0")))
    assert refused(rules, PAIR, "01:00.0", hand_over=hand_over).refusal.reason is Reason.denied
    rules = policy(allow(exactly("01:00.0"), exactly("01:00.1")))
    assert judge(rules, PAIR, "01:00.0", hand_over=hand_over).hand_over == hand_over


def test_a_hand_over_outside_the_terms_never_falls_through() -> None:
    rules = policy(allow(name="narrow", hand_over=("nodes",)), allow(name="wide"))
    error = refused(rules, ONE, "01:00.0", hand_over="iommufd")
    assert (error.refusal.reason, error.refusal.details["term"]) == (Reason.terms, "hand_over")


def test_more_memlock_than_the_terms_is_refused() -> None:
    rules = policy(allow(memlock=1 << 20))
    assert refused(rules, ONE, "01:00.0", memlock=1 << 21).refusal.details["term"] == "memlock"
    assert judge(rules, ONE, "01:00.0", memlock=1 << 19).terms.memlock == 1 << 20


def test_a_device_on_a_kernel_driver_is_in_use() -> None:
    busy = host(device("01:00.0", 1, "e1000e"))
    anything = policy(allow(What(vendor="8086")))
    assert refused(anything, busy, "01:00.0").refusal.reason is Reason.in_use_by_driver
    assert judge(policy(allow(exactly("01:00.0"))), busy, "01:00.0").rule == "allow"
    listed = policy(allow(What(vendor="8086"), take_from=("e1000e",)))
    assert judge(listed, busy, "01:00.0").rule == "allow"


def test_a_sibling_on_a_kernel_driver_is_in_use_as_well() -> None:
    busy = host(device("01:00.0", 1), device("01:00.1", 1, "e1000e"))
    error = refused(policy(allow(exactly("01:00.0"))), busy, "01:00.0")
    assert error.refusal.reason is Reason.in_use_by_driver
    assert error.refusal.details["devices"] == ["pci:0000:01:00.1"]


def test_a_bridge_is_taken_from_its_driver_only_if_the_rule_lists_it() -> None:
    behind = host(bridge("03:00.0", 1, "shpchp"), device("04:01.0", 1))
    error = refused(policy(allow(exactly("04:01.0"))), behind, "04:01.0")
    assert error.refusal.reason is Reason.not_viable
    assert "shpchp" in (error.refusal.hint or "")
    rules = policy(allow(exactly("04:01.0"), take_from=("shpchp",)))
    assert judge(rules, behind, "04:01.0").rule == "allow"


def test_bridges_on_pcieport_are_left_alone() -> None:
    behind = host(bridge("03:00.0", 1), device("04:01.0", 1))
    assert judge(policy(allow(exactly("04:01.0"))), behind, "04:01.0").rule == "allow"


def test_of_differing_terms_the_stricter_holds() -> None:
    merged = merge(
        [
            Terms(("iommufd", "group"), 8, "try", take_from=("nvme", "ixgbe")),
            Terms(("group", "nodes"), 4, "require", take_from=("ixgbe",)),
        ]
    )
    assert merged == Terms(("group",), 4, "require", take_from=("ixgbe",))
    assert merge([Terms(memlock=4), Terms(memlock=None)]).memlock is None


def test_terms_without_anything_in_common_conflict() -> None:
    with pytest.raises(RefusedError) as caught:
        merge([Terms(("iommufd",)), Terms(("nodes",))])
    assert caught.value.refusal.reason is Reason.terms_conflict


def test_the_anchor_is_the_wish_or_the_first_that_the_rule_lists() -> None:
    rules = policy(allow(exactly("01:00.0"), anchor=("cgroup", "hold")))
    assert judge(rules, ONE, "01:00.0").anchor == "cgroup"
    assert judge(rules, ONE, "01:00.0", anchor="hold").anchor == "hold"
    assert judge(policy(allow(exactly("01:00.0"))), ONE, "01:00.0").anchor == "hold"


def test_an_anchor_that_the_rule_does_not_list_is_refused() -> None:
    rules = policy(allow(exactly("01:00.0"), anchor=("cgroup", "hold")))
    found = refused(rules, ONE, "01:00.0", anchor="explicit").refusal
    assert found.reason is Reason.terms
    assert found.details["term"] == "anchor"
    assert found.hint == "ask for cgroup or hold"
