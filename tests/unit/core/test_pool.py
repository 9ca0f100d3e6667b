"""Out of a pool: rule first, then availability, then nearness; all of ``count`` or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isod.core.consider import Bench, Considered, check_free, consider_in
from isod.core.ledger import Ledger
from isod.core.reset_set import ResetSets
from isod.model.address import Address
from isod.model.critical import CriticalFacts, CriticalUse
from isod.model.event import Granted, Quarantined
from isod.model.host import HostSnapshot
from isod.model.policy import Policy, Pool, Rule
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.request import Acquire
from isod.model.terms import Quota, What

from .build import ALICE, allow, at, bridge, deny, device, exactly, host, lease_for

GPUS = What(vendor="10de")


def gpu(short: str, group: int, driver: str | None = None, **facts: Any) -> Any:
    return device(short, group, driver, vendor="10de", **{"numa_node": 0, **facts})


HOST = host(
    gpu("01:00.0", 1),
    gpu("02:00.0", 2),
    gpu("03:00.0", 3, numa_node=1),
    gpu("04:00.0", 4, numa_node=1),
    device("05:00.0", 5, numa_node=1),
)


def pooled(*rules: Rule) -> Policy:
    return Policy(rules or (allow(name="all"),), 1, pools={"gpus": Pool("gpus", (GPUS,))})


def one_of(pool: str = "gpus", **wishes: Any) -> dict[str, Any]:
    return {"pool": pool, **wishes}


def asking(*items: str | dict[str, Any], **wishes: Any) -> Acquire:
    devices = [{"address": item} if isinstance(item, str) else item for item in items]
    return Acquire.model_validate({"devices": devices, **wishes})


def held(snapshot: HostSnapshot, *shorts: str, rule: str = "rule") -> Ledger:
    """Each of these is leased."""
    ledger = Ledger()
    for short in shorts:
        lease = lease_for(snapshot, f"L{short}", [at(short)], None, 8)
        devices = tuple(replace(one, rule=rule) for one in lease.devices)
        ledger.apply(Granted(replace(lease, devices=devices)))
    return ledger


def considered(
    *items: str | dict[str, Any],
    snapshot: HostSnapshot = HOST,
    policy: Policy | None = None,
    ledger: Ledger | None = None,
    facts: CriticalFacts | None = None,
    kept: frozenset[int] = frozenset(),
    **wishes: Any,
) -> Considered:
    ledger = ledger or Ledger()
    bench = Bench(policy or pooled(), ResetSets(snapshot), ledger, facts or CriticalFacts(), kept)
    found = consider_in(bench, ALICE, asking(*items, **wishes))
    check_free(ledger, ALICE, found.groups)
    return found


def chosen(*items: str | dict[str, Any], **bench: Any) -> list[str]:
    return [device.address.short for device in considered(*items, **bench).requested]


def refused(*items: str | dict[str, Any], **bench: Any) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        considered(*items, **bench)
    return caught.value.refusal


# --- rule first ---------------------------------------------------------------------------------


def test_a_deny_drops_the_member_and_not_the_request() -> None:
    policy = pooled(deny(exactly("01:00.0"), name="mine"), allow(name="all"))
    assert chosen(one_of(), policy=policy) == ["02:00.0"]


def test_only_what_a_rule_allows_is_chosen() -> None:
    policy = pooled(allow(exactly("03:00.0"), name="third"))
    assert chosen(one_of(), policy=policy) == ["03:00.0"]


def test_a_pool_with_nothing_for_you_is_as_good_as_none() -> None:
    nothing = refused(one_of(), policy=pooled(deny(name="nobody")))
    unknown = refused(one_of(), policy=Policy((allow(name="all"),), 1))
    assert nothing == unknown
    assert nothing.reason is Reason.denied
    assert "nobody" not in str(nothing)


def test_that_members_are_busy_is_told_only_to_whom_they_are_allowed() -> None:
    policy = pooled(allow(exactly("05:00.0"), name="nic"))
    assert refused(one_of(), policy=policy, ledger=held(HOST, "01:00.0")).reason is Reason.denied


def test_a_member_is_dropped_whose_sibling_is_denied() -> None:
    snapshot = host(gpu("01:00.0", 1), device("01:00.1", 1), gpu("02:00.0", 2))
    policy = pooled(deny(exactly("01:00.1"), name="audio"), allow(name="all"))
    assert chosen(one_of(), snapshot=snapshot, policy=policy) == ["02:00.0"]


def test_more_than_there_are_cannot_be_waited_for() -> None:
    refusal = refused(one_of(count=5))
    assert refusal.reason is Reason.not_found
    assert refusal.message == "pool gpus has 4 for you, and 5 are asked for"


# --- then availability --------------------------------------------------------------------------


def test_what_is_leased_is_passed_over() -> None:
    assert chosen(one_of(), ledger=held(HOST, "01:00.0")) == ["02:00.0"]


def test_what_others_wait_for_is_passed_over() -> None:
    assert chosen(one_of(count=2), kept=frozenset({1, 3})) == ["02:00.0", "04:00.0"]


def test_a_quarantined_group_is_passed_over() -> None:
    ledger = Ledger()
    ledger.apply(Quarantined(QuarantineEntry(at("01:00.0"), "odd")))
    assert chosen(one_of(), ledger=ledger) == ["02:00.0"]


def test_what_the_host_needs_is_passed_over() -> None:
    facts = CriticalFacts({at("01:00.0"): (CriticalUse("display", "shows the console"),)})
    assert chosen(one_of(), facts=facts) == ["02:00.0"]


def test_nothing_is_chosen_as_long_as_nobody_looked_what_the_host_needs() -> None:
    unread = CriticalFacts(unread="not looked up yet")
    assert refused(one_of(), facts=unread).reason is Reason.host_critical


def test_what_a_driver_uses_is_passed_over_unless_it_may_be_taken() -> None:
    snapshot = host(gpu("01:00.0", 1, "nouveau"), gpu("02:00.0", 2))
    assert chosen(one_of(), snapshot=snapshot) == ["02:00.0"]
    taking = pooled(allow(name="all", take_from=("nouveau",)))
    assert chosen(one_of(), snapshot=snapshot, policy=taking) == ["01:00.0"]


def test_what_cannot_be_read_now_is_passed_over() -> None:
    snapshot = host(gpu("01:00.0", 1, unsettled=True), gpu("02:00.0", 2))
    assert chosen(one_of(), snapshot=snapshot) == ["02:00.0"]


def test_what_firmware_has_mapped_is_passed_over() -> None:
    snapshot = host(gpu("01:00.0", 1), gpu("02:00.0", 2), firmware=(1,))
    assert chosen(one_of(), snapshot=snapshot) == ["02:00.0"]


def test_bridges_and_devices_without_an_iommu_are_never_chosen() -> None:
    snapshot = host(
        replace(bridge("01:00.0", 1), vendor="10de"),
        device("02:00.0", None, vendor="10de"),
        gpu("03:00.0", 3),
    )
    assert refused(one_of(count=2), snapshot=snapshot).reason is Reason.not_found
    assert chosen(one_of(), snapshot=snapshot) == ["03:00.0"]


def test_what_is_in_the_way_of_the_first_is_said_where_waiting_does_not_help() -> None:
    snapshot = host(gpu("01:00.0", 1, "nouveau"), gpu("02:00.0", 2))
    refusal = refused(one_of(count=2), snapshot=snapshot)
    assert refusal.reason is Reason.in_use_by_driver
    assert refusal.message == (
        "pool gpus has 1 of 2 for you: 01:00.0 is in use by the driver nouveau"
    )
    assert refusal.details["pool"] == "gpus"


def test_a_quota_holds_for_pools() -> None:
    policy = pooled(allow(name="two", quota=Quota(devices=2)))
    assert chosen(one_of(count=2), policy=policy) == ["01:00.0", "02:00.0"]
    assert refused(one_of(count=3), policy=policy).reason is Reason.quota
    ledger = held(HOST, "01:00.0", rule="two")
    assert refused(one_of(count=2), policy=policy, ledger=ledger).reason is Reason.quota


def test_a_member_under_another_rule_is_chosen_when_a_quota_is_used_up() -> None:
    policy = pooled(
        allow(exactly("01:00.0"), exactly("02:00.0"), name="one", quota=Quota(devices=1)),
        allow(name="rest"),
    )
    assert chosen(one_of(count=2), policy=policy) == ["01:00.0", "03:00.0"]


def test_members_whose_terms_do_not_go_together_are_not_mixed() -> None:
    policy = pooled(
        allow(exactly("01:00.0"), name="fds", hand_over=("iommufd",)),
        allow(exactly("02:00.0"), name="paths", hand_over=("nodes",)),
        allow(name="rest", hand_over=("iommufd",)),
    )
    assert chosen(one_of(count=2), policy=policy) == ["01:00.0", "03:00.0"]


# --- all or nothing -----------------------------------------------------------------------------


def test_too_few_free_is_busy_and_nothing_is_taken() -> None:
    refusal = refused(one_of(count=2), ledger=held(HOST, "01:00.0", "02:00.0", "03:00.0"))
    assert refusal.reason is Reason.group_busy
    assert refusal.message == "pool gpus has 1 free, and 2 are asked for"


def test_two_in_one_group_are_two_devices_of_one_group() -> None:
    snapshot = host(gpu("01:00.0", 1), gpu("01:00.1", 1))
    found = considered(one_of(count=2), snapshot=snapshot)
    assert [group.number for group in found.groups] == [1]
    assert len(found.requested) == 2


def test_one_that_came_along_as_a_sibling_is_not_free_any_more() -> None:
    snapshot = host(gpu("01:00.0", 1), gpu("01:00.1", 1))
    assert chosen(one_of(), snapshot=snapshot) == ["01:00.0"]
    busy = refused(one_of(), snapshot=snapshot, ledger=held(snapshot, "01:00.0"))
    assert busy.reason is Reason.group_busy


def test_a_device_is_never_chosen_twice() -> None:
    asked = considered("02:00.0", one_of(count=2), one_of())
    assert [d.address.short for d in asked.requested] == [
        "02:00.0",
        "01:00.0",
        "03:00.0",
        "04:00.0",
    ]
    assert sorted(asked.pools) == [at("01:00.0"), at("03:00.0"), at("04:00.0")]
    assert refused("02:00.0", one_of(count=4)).reason is Reason.not_found
    assert refused(one_of(count=3), one_of(count=2)).reason is Reason.not_found


def test_who_asks_by_address_for_what_is_denied_learns_that() -> None:
    policy = pooled(deny(exactly("05:00.0"), name="nic"), allow(name="all"))
    refusal = refused(one_of(), "05:00.0", policy=policy)
    assert refusal.reason is Reason.denied
    assert refusal.message.startswith("05:00.0 is not for you")


# --- then nearness ------------------------------------------------------------------------------


def test_near_to_the_node_that_is_named() -> None:
    assert chosen(one_of(numa=1)) == ["03:00.0"]
    assert chosen(one_of(numa=1, count=3)) == ["03:00.0", "04:00.0", "01:00.0"]


def test_near_to_the_other_devices_of_the_request() -> None:
    assert chosen(one_of(), "05:00.0") == ["03:00.0", "05:00.0"]
    assert chosen(one_of(numa=0), "05:00.0") == ["01:00.0", "05:00.0"]


def test_those_out_of_one_pool_are_near_to_the_first() -> None:
    snapshot = host(
        gpu("01:00.0", 1, numa_node=1), gpu("02:00.0", 2), gpu("03:00.0", 3, numa_node=1)
    )
    assert chosen(one_of(count=2), snapshot=snapshot) == ["01:00.0", "03:00.0"]


def test_the_distances_of_the_kernel_count() -> None:
    snapshot = replace(
        host(gpu("01:00.0", 1, numa_node=0), gpu("02:00.0", 2, numa_node=2)),
        distances={0: {0: 10, 1: 31, 2: 21}, 1: {0: 31, 1: 10, 2: 12}, 2: {0: 21, 1: 12, 2: 10}},
    )
    assert chosen(one_of(numa=1), snapshot=snapshot) == ["02:00.0"]


def test_without_distances_the_same_node_is_nearer() -> None:
    snapshot = host(gpu("01:00.0", 1, numa_node=0), gpu("02:00.0", 2, numa_node=7))
    assert chosen(one_of(numa=7), snapshot=snapshot) == ["02:00.0"]


def test_a_device_without_a_node_is_near_to_nothing() -> None:
    snapshot = host(gpu("01:00.0", 1, numa_node=None), gpu("02:00.0", 2, numa_node=1))
    assert chosen(one_of(numa=0), snapshot=snapshot) == ["02:00.0"]


def test_what_brings_fewest_others_along_comes_first() -> None:
    snapshot = host(gpu("01:00.0", 1), device("01:00.1", 1), gpu("02:00.0", 2))
    assert chosen(one_of(), snapshot=snapshot) == ["02:00.0"]


def test_nearness_comes_before_what_is_brought_along() -> None:
    snapshot = host(gpu("01:00.0", 1), device("01:00.1", 1), gpu("02:00.0", 2, numa_node=1))
    assert chosen(one_of(numa=0), snapshot=snapshot) == ["01:00.0"]


def test_members_of_one_group_come_together_where_both_are_wanted() -> None:
    snapshot = host(gpu("01:00.0", 1), gpu("02:00.0", 2), gpu("01:00.1", 1))
    assert chosen(one_of(count=2), snapshot=snapshot) == ["01:00.0", "01:00.1"]
    assert chosen(one_of(count=1), snapshot=snapshot) == ["02:00.0"]


def test_the_order_in_which_the_host_lists_its_devices_does_not_matter() -> None:
    turned = replace(HOST, devices=dict(reversed(list(HOST.devices.items()))))
    for count in (1, 2, 3, 4):
        assert chosen(one_of(count=count), snapshot=turned) == chosen(one_of(count=count))


# --- the request --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        {"pool": "gpus", "count": 0},
        {"pool": "gpus", "count": 251},
        {"pool": "gpus", "numa": -1},
        {"pool": "no such name"},
        {"pool": "gpus", "generation": 3},
        {"pool": "gpus", "address": "01:00.0"},
        {"address": "01:00.0", "count": 2},
        {},
        "01:00.0",
    ],
)
def test_an_item_is_an_address_or_a_pool(item: object) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Acquire.model_validate({"devices": [item]})


def test_a_lease_has_at_most_as_many_devices_as_fds_fit_a_packet() -> None:
    with pytest.raises(ValueError, match="at most 250 devices"):
        asking(one_of(count=250), "01:00.0")


def test_addresses_are_what_they_were() -> None:
    asked = asking("01:00.0", one_of())
    assert [one.address for one in asked.named] == [Address("pci", "0000:01:00.0")]
    assert [one.pool for one in asked.pools] == ["gpus"]


# --- relatives ----------------------------------------------------------------------------------


def test_a_physical_function_with_virtual_ones_is_passed_over() -> None:
    snapshot = host(
        gpu("01:00.0", 1, virtual_functions=(at("01:10.0"),)),
        device("01:10.0", 7, physical_function=at("01:00.0")),
        gpu("02:00.0", 2),
    )
    assert chosen(one_of(), snapshot=snapshot) == ["02:00.0"]
