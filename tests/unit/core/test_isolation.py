"""Isolation groups: IOMMU groups, joined where a quirk of the policy says so."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from isod.core.consider import check_free
from isod.core.decide import decide
from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.core.plan import Plan, plan_grant
from isod.core.view import group_info, hand_overs
from isod.model.event import Granted, Quarantined
from isod.model.host import HostSnapshot
from isod.model.policy import Policy, Pool, Quirk, Rule
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, RefusedError
from isod.model.step import OpenGroup, Probe
from isod.model.terms import What

from .build import (
    ALICE,
    BOB,
    OWNER,
    acquire,
    allow,
    at,
    bridge,
    consider,
    deny,
    device,
    exactly,
    host,
    lease_for,
)

SWITCH = (at("05:00.0"),)
HOST = host(
    device("01:00.0", 12),
    device("01:00.1", 12),
    device("02:00.0", 13, "vfio-pci"),
    bridge("05:00.0", 20),
    bridge("06:00.0", 21, "shpchp"),
    device("07:00.0", 22, bridges=(at("06:00.0"), *SWITCH)),
    device("08:00.0", 23, bridges=SWITCH),
    device("41:00.0", None),
    firmware=[23],
)
NICS = Quirk("nics", devices=(What(address="pci:0000:0[12]:*"),))
BELOW = Quirk("switch", bridge="pci:0000:05:00.0")


def rules(*quirks: Quirk, extra: tuple[Rule, ...] = ()) -> Policy:
    return Policy((*extra, allow(name="all")), 1, quirks=quirks)


def numbers(policy: Policy, short: str, snapshot: HostSnapshot = HOST) -> list[int]:
    return [group.number for group in Isolation(snapshot, policy).groups_of([at(short)])]


def plan(policy: Policy, *shorts: str, **wishes: Any) -> Plan:
    request = acquire(*shorts, **wishes)
    requested = [HOST.devices[at(short)] for short in shorts]
    decision = decide(policy, HOST, ALICE, request, requested, hand_overs(HOST.features))
    return plan_grant(HOST, request, requested, decision.groups, decision, OWNER, None)


def test_without_quirks_a_group_stands_for_itself() -> None:
    assert numbers(rules(), "01:00.1") == [12]
    assert numbers(rules(), "41:00.0") == numbers(rules(), "7f:00.0") == []


def test_a_quirk_joins_the_groups_of_all_that_match() -> None:
    assert numbers(rules(NICS), "01:00.0") == numbers(rules(NICS), "02:00.0") == [12, 13]
    assert numbers(rules(NICS), "08:00.0") == [23]


def test_a_quirk_joins_all_that_is_below_a_bridge_and_not_the_bridge() -> None:
    both = replace(HOST.devices[at("06:00.0")], bridges=SWITCH)
    snapshot = replace(HOST, devices={**HOST.devices, both.address: both})
    assert numbers(rules(BELOW), "07:00.0", snapshot) == [21, 22, 23]
    assert numbers(rules(BELOW), "05:00.0", snapshot) == [20]


def test_a_quirk_joins_the_mdevs_of_a_parent() -> None:
    first, second = (f"mdev:{n * 8}-{n * 4}-{n * 4}-{n * 4}-{n * 12}" for n in "01")
    gpu = at("02:00.0")
    snapshot = host(
        device("02:00.0", 13), device(first, 30, parent=gpu), device(second, 31, parent=gpu)
    )
    policy = rules(Quirk("gpu", parent=str(gpu)))
    assert numbers(policy, first, snapshot) == [30, 31]
    assert numbers(policy, "02:00.0", snapshot) == [13]


def test_a_quirk_may_name_a_pool() -> None:
    pool = Pool("nics", (exactly("01:00.0"), exactly("08:00.0")))
    policy = Policy((), 1, pools={"nics": pool}, quirks=(Quirk("p", (What(pool="nics"),)),))
    assert numbers(policy, "01:00.1") == [12, 23]


def test_quirks_that_overlap_join_everything_they_name() -> None:
    more = Quirk("more", devices=(exactly("02:00.0"), exactly("08:00.0")))
    isolation = Isolation(HOST, rules(NICS, more))
    assert isolation.numbers(12) == isolation.numbers(23) == (12, 13, 23)
    assert isolation.quirks(12) == isolation.quirks(23) == ("nics", "more")
    assert list(isolation.joined()) == [(12, 13, 23)]


def test_the_joined_groups_devices_are_parked_siblings() -> None:
    made = plan(rules(NICS), "01:00.0")
    assert {device.address.short: (device.why, device.parked) for device in made.devices} == {
        "01:00.0": ("requested", False),
        "01:00.1": ("sibling", True),
        "02:00.0": ("sibling", True),
    }
    assert [group.number for group in made.groups] == [12, 13]


def test_a_joined_group_is_looked_at_and_neither_claimed_nor_handed_over() -> None:
    made = plan(rules(NICS), "01:00.0", hand_over="group")
    probes = [step for step in made.steps if isinstance(step, Probe)]
    assert {step.group.number for step in probes if step.full} == {12}
    assert {step.group.number for step in probes if step.held_only} == {13}
    [opened] = [step for step in made.steps if isinstance(step, OpenGroup)]
    assert [group.number for group in opened.groups] == [12]


def test_a_port_alone_in_a_joined_group_is_left_as_it_is() -> None:
    policy = rules(Quirk("port", (exactly("06:00.0"), exactly("07:00.0"))))
    made = plan(policy, "07:00.0")
    assert [group.number for group in made.groups] == [21, 22]
    assert [device.address.short for device in made.devices] == ["07:00.0"]


def test_firmware_mappings_count_where_the_group_is_claimed() -> None:
    policy = rules(BELOW)
    assert [device.address.short for device in plan(policy, "07:00.0").devices] == [
        "07:00.0",
        "08:00.0",
    ]
    with pytest.raises(RefusedError) as caught:
        plan(policy, "08:00.0")
    assert caught.value.refusal.reason is Reason.firmware_mapping


@pytest.mark.parametrize("hand_over", ["iommufd", "group", "nodes"])
def test_a_deny_of_a_joined_device_refuses_and_no_rule_does_not(hand_over: str) -> None:
    policy = rules(NICS, extra=(deny(exactly("02:00.0"), name="hands-off"),))
    with pytest.raises(RefusedError) as caught:
        plan(policy, "01:00.0", hand_over=hand_over)
    assert caught.value.refusal.details["rule"] == "hands-off"
    some = Policy((allow(What(address="pci:0000:01:*")),), 1, quirks=(NICS,))
    assert plan(some, "01:00.0", hand_over=hand_over)


def test_a_driver_in_a_joined_group_is_in_use() -> None:
    devices = {**HOST.devices}
    devices[at("02:00.0")] = replace(HOST.devices[at("02:00.0")], driver="nvme")
    with pytest.raises(RefusedError) as caught:
        consider(rules(NICS), replace(HOST, devices=devices), Ledger(), ALICE, acquire("01:00.0"))
    assert caught.value.refusal.reason is Reason.in_use_by_driver


def test_joined_groups_have_one_owner_and_share_a_quarantine() -> None:
    for event in (
        Granted(lease_for(HOST, "L1", [at("02:00.0")], None, 8)),
        Quarantined(QuarantineEntry(at("02:00.0"), "smoke")),
    ):
        ledger = Ledger()
        ledger.apply(event)
        found = consider(rules(NICS), HOST, ledger, BOB, acquire("01:00.0"))
        with pytest.raises(RefusedError) as caught:
            check_free(ledger, BOB, found.groups)
        assert caught.value.refusal.reason in {Reason.group_busy, Reason.quarantined}
        assert re.search("group 13|02:00.0", caught.value.refusal.message)


def test_the_listing_says_what_is_joined_and_by_which_quirk() -> None:
    isolation = Isolation(HOST, rules(NICS))
    joined = group_info(HOST.groups[12], isolation, Ledger(), ALICE).isolation
    assert joined is not None
    assert (joined.groups, joined.quirks) == ((12, 13), ("nics",))
    assert group_info(HOST.groups[23], isolation, Ledger(), ALICE).isolation is None
