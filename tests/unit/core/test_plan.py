"""Plans: which steps, in which order, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from isod.core.decide import Decision
from isod.core.isolation import Isolation
from isod.core.plan import Plan, plan_grant
from isod.model.host import HostSnapshot
from isod.model.reason import Reason, RefusedError
from isod.model.terms import Terms

from .build import OWNER, acquire, allow, at, bridge, device, host


def plan(
    snapshot: HostSnapshot, *shorts: str, limit: tuple[int, int] | None = (8, 8), **given: Any
) -> Plan:
    terms = Terms(**given)
    request = acquire(*shorts)
    requested = [snapshot.devices[at(short)] for short in shorts]
    groups = Isolation(snapshot).groups_of(d.address for d in requested)
    decision = Decision((allow(name="rule"),) * len(shorts), terms, terms.hand_over[0])
    return plan_grant(snapshot, request, requested, groups, decision, OWNER, limit)


def words(made: Plan) -> list[str]:
    return [
        f"{step.step} {step.address.short}" if hasattr(step, "address") else step.step
        for step in made.steps
    ]


def test_a_device_on_its_driver_is_unbound_bound_probed_and_opened() -> None:
    made = plan(host(device("02:00.0", 1, "nvme")), "02:00.0")
    assert words(made) == ["unbind 02:00.0", "bind 02:00.0", "probe", "open_iommufd"]


def test_the_whole_group_goes_along_and_the_sibling_is_parked() -> None:
    made = plan(host(device("01:00.0", 1), device("01:00.1", 1)), "01:00.0")
    assert words(made) == ["bind 01:00.0", "bind 01:00.1", "probe", "open_iommufd"]
    assert [(d.why, d.parked) for d in made.devices] == [("requested", False), ("sibling", True)]


def test_what_is_on_vfio_is_first_looked_at_for_other_holders() -> None:
    snapshot = host(device("01:00.0", 1, "vfio-pci"), device("01:00.1", 1))
    made = plan(snapshot, "01:00.0")
    assert words(made) == ["probe", "bind 01:00.1", "probe", "open_iommufd"]
    assert [d.touched for d in made.devices] == [False, True]


def test_a_bridge_is_unbound_before_its_group_is_bound_and_keeps_no_override() -> None:
    snapshot = host(bridge("03:00.0", 1, "shpchp"), device("04:01.0", 1))
    made = plan(snapshot, "04:01.0", take_from=("shpchp",))
    assert words(made)[:2] == ["unbind 03:00.0", "bind 04:01.0"]
    assert getattr(made.steps[0], "override", "") is None


def test_scrub_required_resets_before_the_grant_and_needs_a_function_reset() -> None:
    made = plan(host(device("02:00.0", 1)), "02:00.0", scrub="require")
    assert "reset 02:00.0" in words(made)
    with pytest.raises(RefusedError) as caught:
        plan(host(device("02:00.0", 1, reset_methods=("bus",))), "02:00.0", scrub="require")
    assert caught.value.refusal.reason is Reason.terms


def test_memlock_is_raised_only_for_a_peer_that_can_be_named() -> None:
    snapshot = host(device("02:00.0", 1))
    assert "limit" in words(plan(snapshot, "02:00.0", memlock=1 << 20))
    unnamed = plan(snapshot, "02:00.0", memlock=1 << 20, limit=None)
    assert "limit" not in words(unnamed)
    assert unnamed.warnings


def test_firmware_mappings_are_refused_before_anything_is_touched() -> None:
    with pytest.raises(RefusedError) as caught:
        plan(host(device("02:00.0", 1), firmware=[1]), "02:00.0")
    assert caught.value.refusal.reason is Reason.firmware_mapping


def test_hand_overs_end_in_their_own_step() -> None:
    snapshot = host(device("02:00.0", 1))
    assert words(plan(snapshot, "02:00.0", hand_over=("group",)))[-1] == "open_group"
    assert words(plan(snapshot, "02:00.0", hand_over=("nodes",)))[-1] == "grant_nodes"
