"""A group that has become part of a leased isolation group: it is parked, or told of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isod.core.consider import check_free
from isod.core.isolation import Isolation
from isod.core.judge import Bench
from isod.core.ledger import Ledger
from isod.core.newcomer import judge_newcomer
from isod.core.plan import steps_to_give_back
from isod.core.reconcile import Newcomer, newcomers
from isod.core.reset_set import ResetSets
from isod.model.critical import CriticalFacts
from isod.model.effect import Freed
from isod.model.event import DeviceJoined, Granted, Prepared, PrepareFailed, Stranger
from isod.model.host import HostSnapshot
from isod.model.policy import Policy, Quirk
from isod.model.reason import Reason, Refusal, RefusedError

from .build import ALICE, allow, at, device, exactly, host, lease_for
from .test_host_facts import PAIR, TAKEN, addresses, ask, kinds, leased, on_vfio, tell

MORE = host(*PAIR.devices.values(), device("03:00.0", 3), device("03:00.1", 3, "e1000e"))
POLICY = Policy(
    (allow(),),
    2,
    quirks=(Quirk("q", (exactly("01:00.0"), exactly("02:00.0"), exactly("03:00.0"))),),
)


def joined(**terms: Any) -> Ledger:
    """L1 has the two groups that the quirk joined before the third was there."""
    return leased(("01:00.0", "02:00.0"), **terms)


def now(driver: str | None = None) -> HostSnapshot:
    """The host after the third group has come, with this driver on its first device."""
    vfio = on_vfio(PAIR).devices
    added = replace(MORE.devices[at("03:00.0")], driver=driver)
    return replace(MORE, devices={**MORE.devices, **vfio, added.address: added})


def found(ledger: Ledger, snapshot: HostSnapshot) -> dict[str, Newcomer]:
    there = newcomers(Isolation(snapshot, POLICY), ledger, strangers=True)
    return {one.device.address.short: one for one in there}


def judged(
    ledger: Ledger, snapshot: HostSnapshot, short: str, *, added: bool = True
) -> DeviceJoined:
    bench = Bench(POLICY, ResetSets(snapshot), ledger, CriticalFacts())
    return judge_newcomer(bench, found(ledger, snapshot)[short], added=added)


def test_its_devices_are_parked_and_it_is_the_leases() -> None:
    ledger, snapshot = joined(**TAKEN), now()
    assert found(ledger, snapshot).keys() == {"03:00.0", "03:00.1"}
    for short in ("03:00.0", "03:00.1"):
        ledger.apply(judged(ledger, snapshot, short))
        ledger.apply(Prepared("L1", (), ledger.leases["L1"].devices))
    assert addresses(ledger)[-2:] == ["03:00.0", "03:00.1"]
    assert ledger.owner_of(3) is ledger.leases["L1"]
    assert found(ledger, snapshot) == {}


def test_until_then_nobody_else_gets_it() -> None:
    ledger, snapshot = joined(), now()
    isolation = Isolation(snapshot, POLICY)
    with pytest.raises(RefusedError) as caught:
        check_free(ledger, ALICE, isolation.groups_of([at("03:00.0")]))
    assert caught.value.refusal.reason is Reason.group_busy


def test_what_a_driver_has_is_told_and_not_taken() -> None:
    ledger, snapshot = joined(), now()
    with pytest.raises(RefusedError) as caught:
        judged(ledger, snapshot, "03:00.1")
    assert caught.value.refusal.reason is Reason.in_use_by_driver
    one = MORE.devices[at("03:00.1")]
    effects = ledger.apply(Stranger("L1", one.address, one.generation, "in use"))
    assert kinds(list(effects)) == ["lease.conflict"]
    assert ask(ledger, snapshot, POLICY) == ()


def test_who_may_have_it_open_keeps_it() -> None:
    """A fence at the end of the lease would hit another program."""
    ledger, snapshot = joined(**TAKEN), now("vfio-pci")
    for short in ("03:00.0", "03:00.1"):
        with pytest.raises(RefusedError) as caught:
            judged(ledger, snapshot, short)
        assert caught.value.refusal.reason is Reason.held_outside


@pytest.mark.parametrize("added", [True, False])
def test_what_was_there_before_the_policy_gets_no_driver_that_it_had_not(
    added: bool,
) -> None:
    ledger = joined()
    ledger.apply(judged(ledger, now(), "03:00.0", added=added))
    lease = ledger.leases["L1"]
    steps = steps_to_give_back(lease, lease.devices)
    own = {one.address.short: one.own for one in steps if one.step == "restore"}
    assert own["03:00.0"] is added


def test_a_driver_that_was_quicker_leaves_the_group_to_nobody() -> None:
    ledger, snapshot = joined(), now()
    ledger.apply(judged(ledger, snapshot, "03:00.0"))
    assert ledger.owner_of(3) is not None
    name = str(at("03:00.0"))
    driver = Refusal(Reason.in_use_by_driver, f"{name} is bound", {"devices": [name]})
    assert Freed((3,)) in ledger.apply(PrepareFailed("L1", 1, driver))
    assert ledger.owner_of(3) is None
    assert "03:00.0" in found(ledger, snapshot)


def test_what_two_leases_quarrel_about_joins_neither() -> None:
    ledger = leased(("01:00.0",), ("02:00.0",))
    assert found(ledger, now()) == {}
    tell(ledger, now(), POLICY)
    assert found(ledger, now()) == {}


def test_a_stranger_is_forgotten_with_the_quirk() -> None:
    ledger, snapshot = joined(), now()
    one = MORE.devices[at("03:00.1")]
    ledger.apply(Stranger("L1", one.address, one.generation, "in use"))
    assert kinds(tell(ledger, snapshot)) == []
    assert ledger.leases["L1"].strangers == ()


def test_it_shares_a_fate_from_then_on() -> None:
    ledger = joined()
    event = judged(ledger, now(), "03:00.0")
    ledger.apply(event)
    assert set(event.domain) <= set(ledger.leases["L1"].domain)


def test_somebody_who_has_it_meanwhile_keeps_it() -> None:
    ledger, snapshot = joined(), now()
    event = judged(ledger, snapshot, "03:00.0")
    ledger.apply(Granted(lease_for(snapshot, "L2", [at("03:00.0")], None, 8)))
    assert ledger.apply(event) == ()
    assert ledger.owner_of(3) is ledger.leases["L2"]
