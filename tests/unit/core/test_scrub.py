"""Scrubs: what is reset before a hand-over and after it, and what has to wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isod.core.consider import Bench
from isod.core.explain import planned_steps
from isod.core.isolation import Isolation
from isod.core.ledger import Ledger
from isod.core.newcomer import judge_newcomer
from isod.core.plan import Plan, steps_to_give_back
from isod.core.reconcile import newcomers
from isod.core.reset_set import ResetSets
from isod.core.scrub import in_the_way, unclean
from isod.model.critical import CriticalFacts
from isod.model.event import DeviceJoined, Granted, Prepared
from isod.model.host import Device, HostSnapshot
from isod.model.lease import Lease
from isod.model.policy import Policy
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.step import HandOver, HotReset, Reset, Step

from .build import allow, at, bridge, device, host, lease_for

OLD: dict[str, Any] = {"reset_methods": ("bus",)}
PAIR = (
    bridge("03:00.0", 3, "shpchp", below="04"),
    device("04:01.0", 3, "e1000", **OLD),
    device("04:02.0", 3, **OLD),
)
SHARED = (
    bridge("00:05.0", 1, below="05"),
    device("05:00.0", 5, **OLD),
    device("05:00.1", 6, "vfio-pci", **OLD),
)
HOST = host(*PAIR, *SHARED, device("02:00.0", 2, "nvme"))


def lease(*shorts: str, snapshot: HostSnapshot = HOST, **terms: Any) -> Lease:
    return lease_for(snapshot, "L1", [at(short) for short in shorts], None, 8, **terms)


def words(steps: tuple[Step, ...]) -> list[str]:
    named = [(step.step, getattr(step, "address", None)) for step in steps]
    return [f"{step} {address.short}" for step, address in named if address is not None]


def way_back(given: Lease) -> tuple[Step, ...]:
    ended = replace(given, ever_leased=True)
    return steps_to_give_back(ended, tuple(reversed(ended.devices)))


def hot_resets(steps: tuple[Step, ...]) -> list[HotReset]:
    return [step for step in steps if isinstance(step, HotReset)]


def test_a_required_scrub_resets_the_set_before_the_hand_over() -> None:
    given = lease("04:01.0", scrub="require", take_from=("shpchp",))
    assert words(given.plan)[-1] == "hot_reset 04:01.0"
    (step,) = hot_resets(given.plan)
    assert step.required
    assert [address for address, _ in step.members] == [at("04:01.0"), at("04:02.0")]
    assert [group.number for group in step.groups] == [3]


def test_explain_names_the_whole_set() -> None:
    given = lease("04:01.0", scrub="require")
    shown = planned_steps(Plan(given.plan, given.devices, given.groups))
    assert [step.text for step in shown if step.step == "reset"] == ["04:01.0, 04:02.0 (hot)"]


def test_the_way_back_binds_the_set_resets_it_and_fences_it_again() -> None:
    given = lease("04:01.0", scrub="require")
    assert words(way_back(given)) == [
        "bind 04:02.0",
        "bind 04:01.0",
        "hot_reset 04:01.0",
        "fence 04:02.0",
        "fence 04:01.0",
        "restore 04:02.0",
        "restore 04:01.0",
        "restore 03:00.0",
    ]


def test_a_scrub_that_is_tried_comes_on_the_way_back_only() -> None:
    given = lease("04:01.0", scrub="try")
    assert not hot_resets(given.plan)
    (step,) = hot_resets(way_back(given))
    assert not step.required


def test_off_is_off() -> None:
    given = lease("04:01.0", "02:00.0", scrub="off")
    assert not [step for step in way_back(given) if isinstance(step, Reset | HotReset)]


def test_what_resets_by_itself_is_not_reset_with_others() -> None:
    given = lease("02:00.0", scrub="require")
    assert [step.step for step in way_back(given)] == ["reset", "restore"]


def test_a_set_that_holds_another_group_is_not_reset() -> None:
    with pytest.raises(RefusedError, match=r"would hit 05:00\.1, too") as caught:
        lease("05:00.0", scrub="require")
    assert caught.value.refusal.reason is Reason.terms
    assert "--whole-set" in (caught.value.refusal.hint or "")
    assert not hot_resets(way_back(lease("05:00.0", scrub="try")))


def test_with_all_its_groups_in_the_lease_it_is_one_reset() -> None:
    given = lease("05:00.0", "05:00.1", scrub="require")
    (step,) = hot_resets(given.plan)
    assert [group.number for group in step.groups] == [5, 6]
    assert len(hot_resets(way_back(given))) == 1


def test_a_member_kept_on_pci_stub_forbids_it() -> None:
    stubbed = replace(HOST.devices[at("04:02.0")], driver="pci-stub")
    snapshot = replace(HOST, devices={**HOST.devices, stubbed.address: stubbed})
    with pytest.raises(RefusedError, match=r"04:02\.0 is used by pci-stub"):
        lease("04:01.0", snapshot=snapshot, scrub="require")
    assert not hot_resets(way_back(lease("04:01.0", snapshot=snapshot, scrub="try")))


def test_a_device_without_any_reset_is_not_given_where_one_is_required() -> None:
    snapshot = host(device("00:1f.0", 4, reset_methods=()))
    with pytest.raises(RefusedError, match="no hot reset either"):
        lease("00:1f.0", snapshot=snapshot, scrub="require")


def nobody(group: int) -> Lease | None:
    return None


def grown(*others: Any) -> HostSnapshot:
    return host(*PAIR, *SHARED, *others)


@pytest.mark.parametrize(
    ("facts", "owned", "words"),
    [
        ({"driver": "e1000"}, False, "is used by e1000"),
        ({}, True, "is leased"),
        ({}, False, "is not the lease's"),
    ],
)
def test_a_set_that_has_grown_is_waited_for(facts: Any, owned: bool, words: str) -> None:
    given = lease("04:01.0", scrub="require")
    steps = way_back(given)
    added = device("04:03.0", 9, facts.get("driver"), **OLD)

    def owner_of(group: int) -> Lease | None:
        return given if owned and group == 9 else None

    why = in_the_way(ResetSets(grown(added)), owner_of, steps)
    assert why == f"a reset of 04:01.0 would hit 04:03.0, which {words}"
    assert in_the_way(ResetSets(HOST), owner_of, steps) is None


def test_another_instance_at_the_place_of_a_member_is_not_the_leases() -> None:
    steps = way_back(lease("04:01.0", scrub="require"))
    exchanged = replace(HOST.devices[at("04:02.0")], generation=1)
    snapshot = replace(HOST, devices={**HOST.devices, exchanged.address: exchanged})
    assert in_the_way(ResetSets(snapshot), nobody, steps) is not None


def test_a_scrub_that_is_only_tried_waits_for_nobody() -> None:
    steps = way_back(lease("04:01.0", scrub="try"))
    added = device("04:03.0", 9, "e1000", **OLD)
    assert in_the_way(ResetSets(grown(added)), nobody, steps) is None


@pytest.mark.parametrize(
    ("scrub", "reason", "unclean_ones"),
    [
        ("require", Reason.kernel, ["04:01.0", "04:02.0"]),
        ("require", Reason.gone, ["04:01.0", "04:02.0"]),
        ("require", Reason.reset_domain_shared, []),
        ("try", Reason.kernel, []),
    ],
)
def test_what_a_failed_reset_leaves_unclean(
    scrub: str, reason: Reason, unclean_ones: list[str]
) -> None:
    given = replace(lease("04:01.0", scrub=scrub), ever_leased=True)
    refusal = Refusal(reason, "it failed", {"step": "hot_reset"})
    found = unclean(given, at("04:01.0"), refusal)
    assert [entry.address.short for entry in found] == unclean_ones
    assert all("not scrubbed after lease L1: it failed" in entry.why for entry in found)
    assert unclean(given, at("04:01.0"), replace(refusal, details={"step": "restore"})) == ()


# --- devices that are added to a leased group ---------------------------------------------------


def joining(
    hand_over: HandOver, driver: str | None = None, added: Device = PAIR[2], **terms: Any
) -> DeviceJoined:
    """A device with a hot reset only is added to the group of 04:01.0, which was leased before."""
    alone = host(*(one for one in HOST.devices.values() if one.address != at("04:02.0")))
    ledger = Ledger()
    given = replace(lease("04:01.0", snapshot=alone, **terms), hand_over=hand_over)
    ledger.apply(Granted(given))
    ledger.apply(Prepared("L1", (), given.devices))
    now = host(*alone.devices.values(), replace(added, driver=driver))
    bench = Bench(Policy((allow(),), 1), ResetSets(now), ledger, CriticalFacts())
    (newcomer,) = newcomers(Isolation(now), ledger)
    return judge_newcomer(bench, newcomer)


@pytest.mark.parametrize("hand_over", ["group", "nodes"])
def test_what_is_added_where_the_client_reaches_it_is_scrubbed_with_its_set(
    hand_over: HandOver,
) -> None:
    joined = joining(hand_over, scrub="require")
    assert joined.device.hot_reset == (at("04:01.0"), at("04:02.0"))


def test_what_is_added_where_the_client_does_not_reach_it_needs_no_scrub() -> None:
    assert joining("iommufd", scrub="require").device.hot_reset == ()


def test_what_is_added_and_cannot_be_scrubbed_as_the_rule_demands_is_not_parked() -> None:
    shared = device("05:00.2", 3, **OLD)
    with pytest.raises(RefusedError, match=r"scrub is required: a hot reset would hit 05:00\.0"):
        joining("group", added=shared, scrub="require")
    assert joining("group", added=shared, scrub="try").device.hot_reset == ()
    assert joining("iommufd", added=shared, scrub="require").device.hot_reset == ()


def test_what_is_added_on_pci_stub_is_bound_where_a_hot_reset_has_to_hit_it() -> None:
    """Otherwise the lease would wait for ever: nobody takes the device off pci-stub."""
    joined = joining("iommufd", "pci-stub", scrub="require")
    assert words(joined.steps) == ["unbind 04:02.0", "bind 04:02.0"]
    assert joined.device.former_driver == "pci-stub"
    assert joining("iommufd", "pci-stub", scrub="try").steps == ()
