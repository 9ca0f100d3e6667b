"""From a request's words to a decision: what is looked at, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isod.core.consider import Bench, Considered, check_free, wants
from isod.core.ledger import Ledger
from isod.core.queue import Wants
from isod.core.reset_set import ResetSets
from isod.model.event import Granted, Quarantined
from isod.model.host import HostSnapshot
from isod.model.policy import Policy
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, RefusedError

from .build import ALICE, acquire, allow, at, bridge, consider, device, host, lease_for, policy

HOST = host(
    device("01:00.0", 1),
    device("01:00.1", 1),
    device("02:00.0", 2),
    bridge("03:00.0", 3),
    device("41:00.0", None),
)
EVERYTHING = policy(allow(name="all"))


def ask(
    *shorts: str, ledger: Ledger | None = None, rules: Policy = EVERYTHING, free: bool = True
) -> Considered:
    snapshot: HostSnapshot = HOST
    ledger = ledger or Ledger()
    found = consider(rules, snapshot, ledger, ALICE, acquire(*shorts))
    if free:
        check_free(ledger, ALICE, found.groups)
    return found


def refused(*shorts: str, ledger: Ledger | None = None, rules: Policy = EVERYTHING) -> Reason:
    with pytest.raises(RefusedError) as caught:
        ask(*shorts, ledger=ledger, rules=rules)
    return caught.value.refusal.reason


def taken() -> Ledger:
    ledger = Ledger()
    ledger.apply(Granted(lease_for(HOST, "L1", [at("01:00.0")], None, 8)))
    return ledger


def test_a_free_group_is_considered_whole() -> None:
    found = ask("01:00.0")
    assert [group.number for group in found.groups] == [1]
    assert len(found.groups[0].members) == 2


def test_who_waits_keeps_its_groups_for_itself() -> None:
    bench = Bench(EVERYTHING, ResetSets(HOST), taken())
    assert wants(bench, ALICE, acquire("01:00.0")) == Wants(frozenset({1}))


@pytest.mark.parametrize("rules", [policy(), policy(allow(name="all", hand_over=("nodes",)))])
def test_whom_the_policy_refuses_waits_for_nothing(rules: Policy) -> None:
    """It can go, to be told so, and keeps nothing from those behind it."""
    bench = Bench(rules, ResetSets(HOST), taken())
    asked = acquire("01:00.0", hand_over="iommufd")
    assert wants(bench, ALICE, asked) == Wants(frozenset(), ready=True)


def test_what_a_driver_has_for_the_moment_is_waited_for() -> None:
    """On its way back a device may be on its driver before its lease has ended."""
    nic = replace(HOST.devices[at("01:00.0")], driver="e1000e")
    restored = replace(HOST, devices={**HOST.devices, nic.address: nic})
    bench = Bench(EVERYTHING, ResetSets(restored), taken())
    assert wants(bench, ALICE, acquire("01:00.0")) == Wants(frozenset({1}))


def test_a_group_has_one_owner() -> None:
    assert refused("01:00.0", ledger=taken()) is Reason.group_busy


def test_a_sibling_of_what_is_leased_is_not_to_be_had() -> None:
    assert refused("01:00.1", ledger=taken()) is Reason.group_busy


def test_one_busy_group_of_two_is_no_partial_grant() -> None:
    assert refused("02:00.0", "01:00.1", ledger=taken()) is Reason.group_busy


def test_who_is_about_to_wait_may_ask_for_what_is_taken() -> None:
    assert ask("01:00.1", ledger=taken(), free=False).decision.rule == "all"


def test_quarantine_is_for_everybody() -> None:
    ledger = Ledger()
    ledger.apply(Quarantined(QuarantineEntry(at("02:00.0"), "smoke")))
    assert refused("02:00.0", ledger=ledger) is Reason.quarantined


def test_whoever_may_not_have_it_does_not_learn_who_has_it() -> None:
    assert refused("01:00.0", ledger=taken(), rules=policy()) is Reason.denied


def test_what_is_not_there_no_endpoint_or_not_isolated_is_told_apart() -> None:
    assert refused("7f:00.0") is Reason.not_found
    assert refused("03:00.0") is Reason.unsupported
    assert refused("41:00.0") is Reason.unsupported
    assert refused("01:00.0", "01:00.0") is Reason.terms


def test_an_mdev_is_seen_and_not_handed_out_yet() -> None:
    uuid = "mdev:11111111-1111-1111-1111-111111111111"
    snapshot = host(device(uuid, 9, "vfio_mdev", parent=at("02:00.0")))
    with pytest.raises(RefusedError) as caught:
        consider(EVERYTHING, snapshot, Ledger(), ALICE, acquire(uuid))
    assert caught.value.refusal.reason is Reason.unsupported


def test_another_device_at_the_address_is_not_what_was_asked_for() -> None:
    found = HOST.devices[at("02:00.0")].generation
    wanted = acquire("02:00.0")
    old = wanted.model_copy(
        update={"devices": (wanted.devices[0].model_copy(update={"generation": found + 1}),)}
    )
    with pytest.raises(RefusedError) as caught:
        consider(EVERYTHING, HOST, Ledger(), ALICE, old)
    assert caught.value.refusal.reason is Reason.gone


def test_a_member_that_cannot_be_read_keeps_its_group() -> None:
    lacking = {a: d for a, d in HOST.devices.items() if a != at("01:00.1")}
    unread = replace(HOST, devices=lacking)
    unsettled = replace(
        HOST, devices={a: replace(d, unsettled=d.group == 1) for a, d in HOST.devices.items()}
    )
    for snapshot in (unread, unsettled):
        with pytest.raises(RefusedError) as caught:
            consider(EVERYTHING, snapshot, Ledger(), ALICE, acquire("01:00.0"))
        assert caught.value.refusal.reason is Reason.kernel
