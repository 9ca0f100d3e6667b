"""What is bound ahead: free members that the pool may take and the host can spare, and no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from isod.core.ahead import Due, Looks, due, looks
from isod.core.consider import Bench
from isod.core.kept import expected
from isod.core.ledger import Ledger
from isod.core.reset_set import ResetSets
from isod.model.address import Address
from isod.model.ahead import (
    BindAhead,
    Bound,
    ForgetKept,
    Keep,
    Kept,
    KeptFound,
    NoLongerKept,
    NotBound,
    NotPutBack,
    PutBack,
    RememberKept,
    TakeBack,
    Tell,
    WasPutBack,
)
from isod.model.critical import CriticalFacts, CriticalUse
from isod.model.effect import Prepare
from isod.model.event import Granted, Prepared, Quarantined
from isod.model.host import Device, HostSnapshot
from isod.model.policy import Policy, Pool
from isod.model.quarantine import QuarantineEntry
from isod.model.reason import Reason, Refusal
from isod.model.step import Bind, Fence, GroupName, Restore, Unbind
from isod.model.terms import What

from .build import at, bridge, device, host, lease_for

ONE = at("01:00.0")
FAILED = Refusal(Reason.kernel, "it did not bind", {})


def gpu(short: str, group: int | None, driver: str | None = None, **facts: Any) -> Device:
    return device(short, group, driver, vendor="10de", **facts)


def pooled(*take_from: str, ahead: bool = True) -> Policy:
    pool = Pool("gpus", (What(vendor="10de"),), ahead, take_from)
    return Policy((), 1, pools={"gpus": pool})


def found(
    snapshot: HostSnapshot,
    policy: Policy | None = None,
    ledger: Ledger | None = None,
    facts: CriticalFacts | None = None,
    left_alone: Mapping[Address, Looks] | None = None,
) -> Due:
    bench = Bench(
        policy or pooled(), ResetSets(snapshot), ledger or Ledger(), facts or CriticalFacts()
    )
    return due(bench, left_alone or {})


def kept_of(snapshot: HostSnapshot, **scene: Any) -> list[str]:
    return [one.address.short for one in found(snapshot, **scene).keep]


def row(state: Any = "waiting", snapshot: HostSnapshot | None = None, **facts: Any) -> Kept:
    device = (snapshot or host(gpu("01:00.0", 1))).devices[ONE]
    given: dict[str, Any] = {"former_driver": "nouveau", "domain": (ONE,), **facts}
    return Kept(ONE, device.generation, GroupName(1, 9001), "gpus", state=state, **given)


def shelf_with(kept: Kept) -> Ledger:
    """A ledger in which a device is kept in some state."""
    ledger = Ledger()
    ledger.shelf.apply(Keep(kept))
    if kept.state in {"waiting", "returning"}:
        ledger.shelf.apply(Bound(kept.address))
    if kept.state == "returning":
        ledger.shelf.apply(PutBack(kept.address))
    if kept.state == "unsure":
        ledger = Ledger()
        ledger.shelf.apply(KeptFound(kept))
    return ledger


# --- which are bound ----------------------------------------------------------------------------


def test_members_without_a_driver_are_bound() -> None:
    assert kept_of(host(gpu("01:00.0", 1), device("02:00.0", 2))) == ["01:00.0"]


def test_a_driver_is_taken_from_only_where_the_pool_says_so() -> None:
    used = host(gpu("01:00.0", 1, "nouveau", driver_override="x"))
    assert kept_of(used) == []
    [kept] = found(used, pooled("nouveau")).keep
    assert (kept.former_driver, kept.former_override) == ("nouveau", "x")


def test_a_pool_that_is_not_ahead_binds_nothing() -> None:
    assert kept_of(host(gpu("01:00.0", 1)), policy=pooled(ahead=False)) == []


def test_what_sits_on_vfio_already_is_not_isods_to_keep() -> None:
    assert found(host(gpu("01:00.0", 1, "vfio-pci"))) == Due()


@pytest.mark.parametrize(
    "snapshot",
    [
        host(replace(bridge("01:00.0", 1), vendor="10de", driver=None)),
        host(gpu("01:00.0", None)),
        host(gpu("01:00.0", 1, unsettled=True)),
        host(gpu("01:00.0", 1), firmware=(1,)),
        host(
            gpu("01:00.0", 1, virtual_functions=(at("01:10.0"),)),
            device("01:10.0", 7, physical_function=ONE),
        ),
    ],
    ids=["a bridge", "no IOMMU", "unsettled", "mapped by firmware", "with virtual functions"],
)
def test_what_could_not_be_given_out_does_not_wait(snapshot: HostSnapshot) -> None:
    assert kept_of(snapshot) == []


def test_what_the_host_needs_is_never_taken_nor_its_neighbour() -> None:
    facts = CriticalFacts({at("01:00.1"): (CriticalUse("display", "shows the console"),)})
    snapshot = host(gpu("01:00.0", 1), gpu("01:00.1", 1), gpu("02:00.0", 2))
    assert kept_of(snapshot, facts=facts) == ["02:00.0"]


def test_nothing_is_bound_as_long_as_nobody_looked_what_the_host_needs() -> None:
    assert kept_of(host(gpu("01:00.0", 1)), facts=CriticalFacts(unread="not yet")) == []


def test_what_is_leased_or_in_quarantine_is_left_where_it_is() -> None:
    snapshot = host(gpu("01:00.0", 1), gpu("02:00.0", 2), gpu("03:00.0", 3))
    ledger = Ledger()
    ledger.apply(Granted(lease_for(snapshot, "L1", [ONE], None, 8)))
    ledger.apply(Quarantined(QuarantineEntry(at("02:00.0"), "odd")))
    assert kept_of(snapshot, ledger=ledger) == ["03:00.0"]


def test_what_has_failed_is_tried_again_only_when_it_looks_otherwise() -> None:
    snapshot = host(gpu("01:00.0", 1))
    failed = {ONE: looks(snapshot.devices[ONE])}
    assert kept_of(snapshot, left_alone=failed) == []
    again = host(replace(snapshot.devices[ONE], generation=1))
    assert kept_of(again, left_alone=failed) == ["01:00.0"]


# --- which go back ------------------------------------------------------------------------------


def waiting(driver: str | None = "vfio-pci") -> HostSnapshot:
    return host(gpu("01:00.0", 1, driver))


@pytest.mark.parametrize(
    "policy", [pooled("nouveau", ahead=False), pooled(), Policy((), 2)], ids=["bind", "from", "all"]
)
def test_it_goes_back_when_no_pool_wants_it_to_wait(policy: Policy) -> None:
    assert found(waiting(), policy, shelf_with(row())) == Due(put_back=(ONE,))


def test_it_stays_as_long_as_the_pool_wants_it() -> None:
    assert found(waiting(), pooled("nouveau"), shelf_with(row())) == Due()


def test_a_policy_that_could_not_be_read_moves_nothing() -> None:
    missing = Policy(missing=True)
    assert found(waiting(), missing, shelf_with(row())) == Due()


def test_nothing_goes_back_while_somebody_has_it() -> None:
    ledger = shelf_with(row())
    ledger.apply(Granted(lease_for(waiting(), "L1", [ONE], None, 8)))
    assert found(waiting(), Policy((), 2), ledger) == Due()
    assert ledger.shelf.apply(PutBack(ONE)) == ()


def test_what_was_taken_off_by_hand_is_not_fought_over() -> None:
    for driver in (None, "nouveau"):
        changed = waiting(driver)
        seen = found(changed, pooled("nouveau"), shelf_with(row()))
        assert seen.forget == (ONE,)
        assert not seen.put_back


def test_another_device_at_its_address_is_another_device() -> None:
    other = host(replace(gpu("01:00.0", 1), generation=1))
    seen = found(other, pooled(), shelf_with(row()))
    assert seen.forget == (ONE,)


@pytest.mark.parametrize("driver", [None, "nouveau", "vfio-pci"])
def test_what_a_crash_left_half_way_is_bound_and_its_former_driver_remembered(
    driver: str | None,
) -> None:
    ledger = shelf_with(row("unsure"))
    [kept] = found(waiting(driver), pooled("nouveau"), ledger).keep
    assert kept.former_driver == "nouveau"
    ledger.shelf.apply(Keep(replace(kept, former_driver="another")))
    assert ledger.shelf.rows[ONE].former_driver == "nouveau"


@pytest.mark.parametrize("driver", [None, "nouveau", "vfio-pci"])
def test_what_a_crash_left_half_way_is_put_back_if_nobody_wants_it(driver: str | None) -> None:
    assert found(waiting(driver), Policy((), 2), shelf_with(row("unsure"))).put_back == (ONE,)


def test_what_a_crash_left_without_a_driver_is_put_back_if_the_host_needs_it() -> None:
    facts = CriticalFacts({ONE: (CriticalUse("display", "shows the console"),)})
    ledger = shelf_with(row("unsure"))
    assert found(waiting(None), pooled("nouveau"), ledger, facts).put_back == (ONE,)


# --- the ledger's book --------------------------------------------------------------------------


def test_the_row_is_written_before_anything_is_done() -> None:
    ledger = Ledger()
    remember, bind = ledger.shelf.apply(Keep(row("binding")))
    assert isinstance(remember, RememberKept)
    assert isinstance(bind, BindAhead)
    assert [type(step) for step in bind.steps] == [Unbind, Bind]
    assert [type(step) for step in bind.back] == [Fence, Restore]


def test_the_row_goes_when_the_device_is_as_it_was() -> None:
    ledger = shelf_with(row())
    remember, back = ledger.shelf.apply(PutBack(ONE))
    assert isinstance(remember, RememberKept)
    assert isinstance(back, TakeBack)
    [forget] = ledger.shelf.apply(WasPutBack(ONE))
    assert isinstance(forget, ForgetKept)
    assert not ledger.shelf.rows


def test_a_failure_is_told_and_leaves_a_row_only_if_something_is_stranded() -> None:
    ledger = shelf_with(row("binding"))
    forget, tell = ledger.shelf.apply(NotBound(ONE, FAILED))
    assert isinstance(forget, ForgetKept)
    assert isinstance(tell, Tell)
    ledger = shelf_with(row("binding"))
    remember, tell = ledger.shelf.apply(NotBound(ONE, FAILED, FAILED))
    assert isinstance(remember, RememberKept)
    assert ledger.shelf.rows[ONE].state == "unsure"


def test_what_could_not_be_put_back_keeps_its_row() -> None:
    ledger = shelf_with(row("returning"))
    ledger.shelf.apply(NotPutBack(ONE, FAILED))
    assert ledger.shelf.rows[ONE].state == "unsure"


@pytest.mark.parametrize("state", ["binding", "returning"])
def test_nothing_is_begun_or_forgotten_while_an_operation_is_under_way(state: str) -> None:
    ledger = shelf_with(row(state))
    assert ledger.shelf.apply(PutBack(ONE)) == ()
    assert ledger.shelf.apply(NoLongerKept(ONE)) == ()
    assert ledger.shelf.apply(Keep(row())) == ()


def test_news_of_a_row_that_is_gone_is_ignored() -> None:
    assert Ledger().shelf.apply(Bound(ONE)) == ()


def test_a_grant_runs_behind_the_binding_and_gives_back_to_vfio_pci() -> None:
    used = host(gpu("01:00.0", 1, "nouveau"))
    ledger = shelf_with(row("binding", used))
    then = expected(used, ledger.shelf)
    lease = lease_for(then, "L1", [ONE], None, 8)
    [kept] = lease.devices
    assert (kept.former_driver, kept.former_override) == ("vfio-pci", "vfio-pci")
    assert not any(isinstance(step, Bind | Unbind) for step in lease.plan)
    assert not any(isinstance(effect, Prepare) for effect in ledger.apply(Granted(lease)))
    effects = ledger.shelf.apply(Bound(ONE))
    assert [type(effect) for effect in effects] == [RememberKept, Prepare]
    ledger.apply(Prepared("L1", (), lease.devices))


def test_a_grant_behind_a_way_back_takes_the_device_from_its_driver() -> None:
    ledger = shelf_with(row("returning"))
    then = expected(waiting(), ledger.shelf)
    lease = lease_for(then, "L1", [ONE], None, 8)
    assert lease.devices[0].former_driver == "nouveau"
    assert any(isinstance(step, Unbind) for step in lease.plan)


def test_a_host_with_nothing_under_way_is_as_it_is() -> None:
    snapshot = waiting()
    assert expected(snapshot, shelf_with(row()).shelf) is snapshot
