"""Whole reset sets: what comes along, and who has to allow it."""

from __future__ import annotations

from typing import Any

import pytest

from isod.core.decide import Decision, decide
from isod.core.plan import plan_grant
from isod.core.quota import check_quota
from isod.model.host import HostSnapshot
from isod.model.lease import Lease, Owner
from isod.model.policy import Limits, Policy
from isod.model.reason import Reason, RefusedError
from isod.model.step import HandOver
from isod.model.terms import Quota, What

from .build import (
    ALICE,
    OWNER,
    acquire,
    allow,
    at,
    deny,
    device,
    exactly,
    host,
    policy,
)

OFFERED: tuple[HandOver, ...] = ("iommufd", "group", "nodes")


def two_groups(**second: Any) -> HostSnapshot:
    """Two functions on one bus, each in a group of its own."""
    port = device(
        "00:01.0", 9, "pcieport", device_class="060400", header_type=1, secondary_bus="0000:01"
    )
    return host(port, device("01:00.0", 1), device("01:00.1", 2, **second))


def judge(rules: Policy, snapshot: HostSnapshot, *shorts: str, **wishes: Any) -> Decision:
    requested = [snapshot.devices[at(short)] for short in shorts]
    return decide(rules, snapshot, ALICE, acquire(*shorts, **wishes), requested, OFFERED)


def refused(rules: Policy, snapshot: HostSnapshot, *shorts: str, **wishes: Any) -> Reason:
    with pytest.raises(RefusedError) as caught:
        judge(rules, snapshot, *shorts, **wishes)
    return caught.value.refusal.reason


WHOLE = policy(allow(exactly("01:00.0"), reset="whole-set", may_take=(What(vendor="8086"),)))


def test_the_other_group_of_the_set_comes_along() -> None:
    found = judge(WHOLE, two_groups(), "01:00.0")
    assert [device.address.short for device in found.extras] == ["01:00.1"]
    assert [group.number for group in found.groups] == [1, 2]


def test_it_needs_an_allow_or_may_take() -> None:
    bare = policy(allow(exactly("01:00.0"), reset="whole-set"))
    assert refused(bare, two_groups(), "01:00.0") is Reason.denied
    both = policy(allow(exactly("01:00.0"), exactly("01:00.1"), reset="whole-set"))
    assert judge(both, two_groups(), "01:00.0").extras


def test_an_earlier_deny_wins_over_may_take() -> None:
    rules = Policy((deny(exactly("01:00.1")), *WHOLE.rules))
    assert refused(rules, two_groups(), "01:00.0") is Reason.denied


def test_if_owned_takes_what_was_asked() -> None:
    rules = policy(allow())
    assert judge(rules, two_groups(), "01:00.0").extras == ()
    assert judge(rules, two_groups(), "01:00.0", reset="whole-set").extras


def test_a_rule_of_whole_sets_grants_nothing_less() -> None:
    assert refused(WHOLE, two_groups(), "01:00.0", reset="if-owned") is Reason.terms


@pytest.mark.parametrize(
    "second",
    [
        {"device_class": "060400", "header_type": 1},
        {"physical_function": at("01:00.0")},
        {"virtual_functions": (at("02:00.0"),)},
    ],
)
def test_a_set_that_nobody_can_own_is_refused(second: dict[str, Any]) -> None:
    assert refused(WHOLE, two_groups(**second), "01:00.0") is Reason.reset_domain_shared


@pytest.mark.parametrize(
    ("terms", "wish", "hint", "fixed_by"),
    [
        ({"reset": "whole-set"}, {}, 'say reset = "if-owned" in the rule', "an administrator"),
        ({}, {"reset": "whole-set"}, "ask for if-owned", "you"),
    ],
)
def test_who_wants_the_whole_set_can_do_without_and_waiting_does_not_help(
    terms: dict[str, Any], wish: dict[str, Any], hint: str, fixed_by: str
) -> None:
    shared = two_groups(physical_function=at("01:00.0"))
    with pytest.raises(RefusedError) as caught:
        judge(policy(allow(**terms)), shared, "01:00.0", **wish)
    found = caught.value.refusal
    assert found.hint == f"{hint}, which grants the device without its whole reset set"
    assert (found.fixed_by, found.may_pass) == (fixed_by, False)


def test_what_comes_along_is_bound_and_handed_out_and_not_parked() -> None:
    snapshot = two_groups()
    found = judge(WHOLE, snapshot, "01:00.0")
    requested = [snapshot.devices[at("01:00.0")]]
    request = acquire("01:00.0")
    plan = plan_grant(snapshot, request, requested, found.groups, found, OWNER, None)
    assert [(d.why, d.parked) for d in plan.devices] == [
        ("requested", False),
        ("reset_set", False),
    ]
    opened = plan.steps[-1]
    assert getattr(opened, "devices", ()) == (at("01:00.0"), at("01:00.1"))


SHARED: dict[str, Any] = {"reset": "whole-set", "may_take": (What(vendor="8086"),)}


def lease_of(rules: Policy, snapshot: HostSnapshot) -> Lease:
    """Alice's lease of 01:00.0 and what comes along."""
    found = judge(rules, snapshot, "01:00.0")
    requested = [snapshot.devices[at("01:00.0")]]
    plan = plan_grant(snapshot, acquire("01:00.0"), requested, found.groups, found, OWNER, None)
    owner = Owner(ALICE.uid, 1, 1)
    given = (found.rule, found.hand_over, found.terms, plan.devices, plan.groups, plan.steps)
    return Lease("L1", "secret", owner, *given)


def test_what_an_allow_lets_in_counts_in_its_quota_for_as_long_as_the_lease_lasts() -> None:
    card = allow(exactly("01:00.0"), name="card", **SHARED)
    sound = allow(name="sound", quota=Quota(devices=2))
    lease = lease_of(policy(card, sound), two_groups())
    assert [(d.address.short, d.rule) for d in lease.devices] == [
        ("01:00.0", "card"),
        ("01:00.1", "sound"),
    ]
    check_quota([lease], ALICE, [sound], Limits())
    with pytest.raises(RefusedError, match="rule sound allows 2 devices: you have 1"):
        check_quota([lease], ALICE, [sound, sound], Limits())


def test_what_comes_by_may_take_counts_in_no_quota() -> None:
    card = allow(exactly("01:00.0"), name="card", quota=Quota(devices=2), **SHARED)
    lease = lease_of(policy(card), two_groups())
    assert [(d.why, d.rule) for d in lease.devices] == [("requested", "card"), ("reset_set", None)]
    check_quota([lease], ALICE, [card], Limits())


def test_the_lease_keeps_the_terms_of_what_came_along() -> None:
    card = allow(exactly("01:00.0"), name="card", memlock=8, scrub="try", **SHARED)
    sound = allow(name="sound", memlock=4, scrub="require")
    terms = lease_of(policy(card, sound), two_groups()).terms
    assert (terms.memlock, terms.scrub) == (4, "require")
