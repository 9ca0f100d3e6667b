"""What happens to the host under leases: what the picture says, and what the ledger makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isod.core.isolation import Isolation
from isod.core.judge import Bench
from isod.core.ledger import Ledger
from isod.core.newcomer import judge_newcomer
from isod.core.plan import plan_reopen, steps_to_give_back
from isod.core.reconcile import newcomers, news
from isod.core.reset_set import ResetSets
from isod.model.address import Address
from isod.model.critical import CriticalFacts, CriticalUse
from isod.model.effect import (
    Announce,
    Drain,
    Effect,
    Freed,
    Prepare,
    Quarantine,
    Remember,
    StartTimer,
)
from isod.model.event import (
    Conflict,
    DeviceGone,
    DeviceJoined,
    Event,
    Granted,
    HeldOutside,
    Prepared,
    PrepareFailed,
    Recovered,
    Revoke,
    Settled,
    Stranger,
)
from isod.model.host import HostSnapshot
from isod.model.lease import State
from isod.model.policy import Policy, Quirk
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.step import Bind, OpenIommufd, Unbind

from .build import allow, at, deny, device, exactly, host, lease_for

PAIR = host(
    device("01:00.0", 1, "e1000e"), device("01:00.1", 1, "e1000e"), device("02:00.0", 2, "nvme")
)
TAKEN: dict[str, Any] = {"take_from": ("e1000e",)}
JOINED = Policy((), 2, quirks=(Quirk("q", (exactly("01:00.0"), exactly("02:00.0"))),))


def on_vfio(snapshot: HostSnapshot) -> HostSnapshot:
    """The host as it is while everything is leased."""
    devices = {a: replace(d, driver="vfio-pci") for a, d in snapshot.devices.items()}
    return replace(snapshot, devices=devices)


def without(snapshot: HostSnapshot, *shorts: str) -> HostSnapshot:
    gone = {at(short) for short in shorts}
    return host(*(one for a, one in snapshot.devices.items() if a not in gone))


def again(snapshot: HostSnapshot, short: str, driver: str | None) -> HostSnapshot:
    """Another instance at the address."""
    old = snapshot.devices[at(short)]
    new = replace(old, generation=old.generation + 1, driver=driver)
    return replace(snapshot, devices={**snapshot.devices, old.address: new})


def leased(*wanted: tuple[str, ...], **terms: Any) -> Ledger:
    """A ledger with a lease of each of these: L1, L2, …"""
    ledger = Ledger()
    for number, shorts in enumerate(wanted, 1):
        addresses: list[Address] = [at(short) for short in shorts]
        lease = lease_for(PAIR, f"L{number}", addresses, None, 8, **terms)
        ledger.apply(Granted(lease))
        ledger.apply(Prepared(lease.id, (), lease.devices))
    return ledger


def ask(ledger: Ledger, snapshot: HostSnapshot, policy: Policy | None = None) -> tuple[Event, ...]:
    return news(Isolation(snapshot, policy), ledger)


def tell(ledger: Ledger, snapshot: HostSnapshot, policy: Policy | None = None) -> list[Effect]:
    """Tell the ledger all that is new, until nothing is."""
    effects: list[Effect] = []
    while found := ask(ledger, snapshot, policy):
        for event in found:
            effects += ledger.apply(event)
    return effects


def kinds(effects: list[Effect]) -> list[str]:
    return [effect.kind for effect in effects if isinstance(effect, Announce)]


def addresses(ledger: Ledger, name: str = "L1") -> list[str]:
    return [one.address.short for one in ledger.leases[name].devices]


class TestGone:
    def test_nothing_new_is_nothing_to_tell(self) -> None:
        assert ask(leased(("01:00.0",), ("02:00.0",)), on_vfio(PAIR)) == ()

    def test_the_lease_goes_on_with_fewer_devices(self) -> None:
        ledger = leased(("01:00.0", "02:00.0"))
        effects = tell(ledger, without(on_vfio(PAIR), "02:00.0"))
        assert kinds(effects) == ["lease.device_gone"]
        assert addresses(ledger) == ["01:00.0", "01:00.1"]
        assert ledger.leases["L1"].state is State.leased

    def test_a_group_that_is_gone_is_free_and_who_waits_for_it_is_served(self) -> None:
        ledger = leased(("01:00.0", "02:00.0"))
        effects = tell(ledger, without(on_vfio(PAIR), "02:00.0"))
        assert Freed((2,)) in effects
        assert ledger.owner_of(2) is None
        assert ledger.owner_of(1) is not None

    def test_a_group_with_members_left_stays_the_leases(self) -> None:
        ledger = leased(("01:00.0",))
        tell(ledger, without(on_vfio(PAIR), "01:00.1"))
        assert [group.number for group in ledger.leases["L1"].groups] == [1]

    def test_with_the_last_requested_device_it_ends(self) -> None:
        ledger = leased(("01:00.0",))
        effects = tell(ledger, without(on_vfio(PAIR), "01:00.0"))
        assert kinds(effects) == ["lease.device_gone", "lease.draining"]
        [drain] = [effect for effect in effects if isinstance(effect, Drain)]
        assert [one.address.short for one in drain.devices] == ["01:00.1"]

    def test_another_device_at_the_address_is_another(self) -> None:
        found = ask(leased(("02:00.0",)), again(on_vfio(PAIR), "02:00.0", "vfio-pci"))
        assert [type(event) for event in found] == [DeviceGone]

    def test_in_the_middle_of_a_grant_it_is_over_when_that_is(self) -> None:
        ledger = Ledger()
        lease = lease_for(PAIR, "L1", [at("02:00.0")], None, 8)
        ledger.apply(Granted(lease))
        tell(ledger, without(PAIR, "02:00.0"))
        assert ledger.leases["L1"].ending == "its devices are gone"
        ledger.apply(Prepared("L1", (), lease.devices))
        assert ledger.leases["L1"].state is State.draining
        assert ledger.leases["L1"].devices == ()

    def test_fresh_fds_are_of_what_is_left(self) -> None:
        ledger = leased(("01:00.0", "02:00.0"))
        tell(ledger, without(on_vfio(PAIR), "02:00.0"))
        *_, opened = plan_reopen(ledger.leases["L1"])
        assert isinstance(opened, OpenIommufd)
        assert opened.devices == (at("01:00.0"),)

    def test_a_scrub_that_is_demanded_is_not_got_round_by_a_removal(self) -> None:
        ledger = leased(("02:00.0", "01:00.0"), scrub="require")
        effects = tell(ledger, without(on_vfio(PAIR), "02:00.0", "01:00.1"))
        entries = [one for e in effects if isinstance(e, Quarantine) for one in e.entries]
        assert [entry.address.short for entry in entries] == ["02:00.0"]
        assert at("02:00.0") in ledger.quarantined


class TestHeldOutside:
    @pytest.mark.parametrize(("driver", "by"), [(None, "no driver"), ("igb", "igb")])
    def test_a_device_that_is_not_on_vfio_any_more_is_told_once(
        self, driver: str | None, by: str
    ) -> None:
        ledger = leased(("01:00.0",))
        vfio = on_vfio(PAIR)
        nic = replace(vfio.devices[at("01:00.1")], driver=driver)
        taken = replace(vfio, devices={**vfio.devices, nic.address: nic})
        assert ask(ledger, taken) == (HeldOutside("L1", nic.address, by),)
        assert kinds(tell(ledger, taken)) == ["lease.held_outside"]
        assert [one.held_outside for one in ledger.leases["L1"].devices] == [None, by]
        assert tell(ledger, vfio)
        assert [one.held_outside for one in ledger.leases["L1"].devices] == [None, None]

    def test_what_the_plan_left_alone_is_nobodys_taking(self) -> None:
        snapshot = host(device("01:00.0", 1), device("01:00.1", 1, "pci-stub"))
        ledger = Ledger()
        lease = lease_for(snapshot, "L1", [at("01:00.0")], None, 8)
        ledger.apply(Granted(lease))
        ledger.apply(Prepared("L1", (), lease.devices))
        nic = replace(snapshot.devices[at("01:00.0")], driver="vfio-pci")
        assert ask(ledger, replace(snapshot, devices={**snapshot.devices, nic.address: nic})) == ()


class TestJoined:
    def bench(self, snapshot: HostSnapshot, ledger: Ledger, *rules: Any, **uses: Any) -> Bench:
        facts = CriticalFacts({at("01:00.1"): (CriticalUse("swap", "is needed"),)} if uses else {})
        return Bench(Policy(rules, 1), ResetSets(snapshot), ledger, facts)

    def put_back(self, driver: str | None = "e1000e", **terms: Any) -> tuple[Ledger, HostSnapshot]:
        ledger = leased(("01:00.0",), **{**TAKEN, **terms})
        snapshot = again(on_vfio(PAIR), "01:00.1", driver)
        tell(ledger, snapshot)
        return ledger, snapshot

    def test_it_is_taken_from_its_driver_and_parked(self) -> None:
        ledger, snapshot = self.put_back()
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        event = judge_newcomer(self.bench(snapshot, ledger, allow()), newcomer)
        [_, prepare] = ledger.apply(event)
        assert isinstance(prepare, Prepare)
        assert [type(step) for step in prepare.steps] == [Unbind, Bind]
        assert newcomers(Isolation(snapshot), ledger) == ()
        effects = ledger.apply(Prepared("L1", (), prepare.lease.devices))
        assert kinds(list(effects)) == ["lease.device_joined"]
        assert addresses(ledger) == ["01:00.0", "01:00.1"]
        assert ledger.leases["L1"].state is State.leased

    @pytest.mark.parametrize(
        ("case", "reason"),
        [
            ("denied", Reason.denied),
            ("driver", Reason.in_use_by_driver),
            ("critical", Reason.host_critical),
        ],
    )
    def test_it_is_asked_what_a_sibling_is_asked(self, case: str, reason: Reason) -> None:
        terms: dict[str, Any] = {"take_from": ()} if case == "driver" else {}
        ledger, snapshot = self.put_back("e1000e", **terms)
        rules = (deny(exactly("01:00.1")), allow()) if case == "denied" else (allow(),)
        uses = {"swap": True} if case == "critical" else {}
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        with pytest.raises(RefusedError) as caught:
            judge_newcomer(self.bench(snapshot, ledger, *rules, **uses), newcomer)
        assert caught.value.refusal.reason is reason

    @pytest.mark.parametrize(
        ("rule", "term"),
        [
            ({"hand_over": ("iommufd",)}, "hand_over"),
            ({"anchor": ("explicit",)}, "anchor"),
            ({"scrub": "require"}, "scrub"),
        ],
    )
    def test_where_it_is_reached_the_terms_of_its_own_rule_have_to_be_met(
        self, rule: dict[str, Any], term: str
    ) -> None:
        ledger, snapshot = self.put_back()
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        bench = self.bench(snapshot, ledger, allow(**rule))
        assert judge_newcomer(bench, newcomer).lease == "L1"
        reached = replace(newcomer, lease=replace(newcomer.lease, hand_over="group"))
        with pytest.raises(RefusedError) as caught:
            judge_newcomer(bench, reached)
        assert caught.value.refusal.reason is Reason.terms
        assert caught.value.refusal.details["term"] == term
        assert judge_newcomer(self.bench(snapshot, ledger, allow()), reached).lease == "L1"

    def test_a_stranger_is_told_once_and_forgotten_when_it_goes(self) -> None:
        ledger, snapshot = self.put_back()
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        name = newcomer.device
        effects = ledger.apply(Stranger("L1", name.address, name.generation, "denied"))
        assert kinds(list(effects)) == ["lease.conflict"]
        assert newcomers(Isolation(snapshot), ledger) == ()
        tell(ledger, without(snapshot, "01:00.1"))
        assert ledger.leases["L1"].strangers == ()
        assert ledger.leases["L1"].revocation is None

    def test_a_stranger_may_be_judged_again_and_join_then(self) -> None:
        ledger, snapshot = self.put_back()
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        name = newcomer.device
        told = Stranger("L1", name.address, name.generation, "is being set up")
        ledger.apply(told)
        [again] = newcomers(Isolation(snapshot), ledger, strangers=True)
        assert again.device == name
        assert ledger.apply(told) == ()
        ledger.apply(judge_newcomer(self.bench(snapshot, ledger, allow()), again))
        assert ledger.leases["L1"].strangers == ()
        assert addresses(ledger) == ["01:00.0", "01:00.1"]
        assert newcomers(Isolation(snapshot), ledger, strangers=True) == ()

    def test_a_member_of_another_group_of_the_same_number_is_no_newcomer(self) -> None:
        ledger, snapshot = self.put_back()
        other = replace(snapshot.groups[1], generation=1)
        recycled = replace(snapshot, groups={**snapshot.groups, 1: other})
        assert newcomers(Isolation(recycled), ledger) == ()

    def test_whose_driver_comes_a_moment_later_is_judged_with_it(self) -> None:
        """Found without a driver, and bound by the time that isod wants to bind it."""
        ledger, snapshot = self.put_back(None)
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        ledger.apply(judge_newcomer(self.bench(snapshot, ledger, allow()), newcomer))
        name = str(newcomer.device.address)
        driver = Refusal(Reason.in_use_by_driver, f"{name} is bound to e1000e", {"devices": [name]})
        assert kinds(list(ledger.apply(PrepareFailed("L1", 1, driver)))) == []
        assert addresses(ledger) == ["01:00.0"]
        [newcomer] = newcomers(Isolation(again(snapshot, "01:00.1", "e1000e")), ledger)
        event = judge_newcomer(self.bench(snapshot, ledger, allow()), newcomer)
        assert isinstance(event, DeviceJoined)
        assert [type(step) for step in event.steps] == [Unbind, Bind]

    @pytest.mark.parametrize("driver", [None, "e1000e"])
    def test_at_the_end_it_gets_the_driver_that_isod_may_have_forestalled(
        self, driver: str | None
    ) -> None:
        ledger, snapshot = self.put_back(driver)
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        ledger.apply(judge_newcomer(self.bench(snapshot, ledger, allow()), newcomer))
        lease = ledger.leases["L1"]
        steps = steps_to_give_back(lease, lease.devices)
        own = {one.address.short: (one.driver, one.own) for one in steps if one.step == "restore"}
        assert own == {"01:00.0": ("e1000e", False), "01:00.1": (driver, driver is None)}

    def test_what_fails_otherwise_is_told_and_stays_the_leases(self) -> None:
        ledger, snapshot = self.put_back("e1000e")
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        ledger.apply(judge_newcomer(self.bench(snapshot, ledger, allow()), newcomer))
        name = str(newcomer.device.address)
        driver = Refusal(Reason.in_use_by_driver, f"{name} is bound to e1000e", {"devices": [name]})
        assert kinds(list(ledger.apply(PrepareFailed("L1", 2, driver)))) == ["lease.conflict"]
        assert addresses(ledger) == ["01:00.0", "01:00.1"]

    def test_steps_that_fail_leave_it_to_the_way_back(self) -> None:
        ledger, snapshot = self.put_back(None)
        [newcomer] = newcomers(Isolation(snapshot), ledger)
        event = judge_newcomer(self.bench(snapshot, ledger, allow()), newcomer)
        assert isinstance(event, DeviceJoined)
        assert event.device.touched
        ledger.apply(event)
        assert ledger.leases["L1"].devices[-1] == event.device


class TestConflict:
    def test_all_are_told_and_the_younger_is_asked_to_let_go(self) -> None:
        ledger = leased(("01:00.0",), ("02:00.0",))
        [event] = ask(ledger, on_vfio(PAIR), JOINED)
        assert event == Conflict(
            ("L1", "L2"), "groups 1 and 2 are not isolated from each other (quirk q)"
        )
        effects = list(ledger.apply(event))
        assert kinds(effects) == ["lease.conflict", "lease.conflict", "lease.revoking"]
        assert [e.lease.id for e in effects if isinstance(e, StartTimer)] == ["L2"]
        assert ledger.leases["L1"].conflict == ledger.leases["L2"].conflict == event.why
        assert ask(ledger, on_vfio(PAIR), JOINED) == ()

    @pytest.mark.parametrize("written", range(4))
    def test_killed_in_the_middle_of_its_rows_isod_still_takes_one_back(self, written: int) -> None:
        """Whichever rows were written: the next daemon finds the conflict, or goes on with it."""
        ledger = leased(("01:00.0",), ("02:00.0",))
        store = dict(ledger.leases)
        [event] = ask(ledger, on_vfio(PAIR), JOINED)
        rows = [e.lease for e in ledger.apply(event) if isinstance(e, Remember)]
        store |= {row.id: row for row in rows[:written]}
        after = Ledger()
        for row in store.values():
            after.apply(Recovered(row, held=True))
        tell(after, on_vfio(PAIR), JOINED)
        assert after.leases["L1"].revocation is None
        assert after.leases["L2"].revocation is not None

    def test_who_is_on_the_way_out_is_not_the_one_that_stays(self) -> None:
        ledger = leased(("01:00.0",), ("02:00.0",))
        ledger.apply(Revoke("L1", "by an administrator", at_once=True))
        effects = tell(ledger, on_vfio(PAIR), JOINED)
        assert "lease.revoking" not in kinds(effects)

    def test_who_is_asked_to_let_go_already_is_not_the_one_that_stays(self) -> None:
        ledger = leased(("01:00.0",), ("02:00.0",))
        ledger.apply(Revoke("L1", "by an administrator"))
        assert kinds(tell(ledger, on_vfio(PAIR), JOINED)) == ["lease.conflict", "lease.conflict"]
        assert ledger.leases["L2"].revocation is None

    def test_one_owner_of_both_is_no_conflict(self) -> None:
        assert ask(leased(("01:00.0", "02:00.0")), on_vfio(PAIR), JOINED) == ()

    def test_it_is_settled_when_one_is_left_or_the_quirk_is_gone(self) -> None:
        ledger = leased(("01:00.0",), ("02:00.0",))
        tell(ledger, on_vfio(PAIR), JOINED)
        assert ask(ledger, on_vfio(PAIR), None) == (Settled("L1"), Settled("L2"))
        tell(ledger, on_vfio(PAIR), None)
        assert ledger.leases["L1"].conflict is None

    def test_who_meets_several_is_in_one_conflict(self) -> None:
        three = host(*PAIR.devices.values(), device("03:00.0", 3), device("04:00.0", 4))
        ledger = Ledger()
        for name, *shorts in (("L1", "01:00.0"), ("L2", "02:00.0", "03:00.0"), ("L3", "04:00.0")):
            lease = lease_for(three, name, [at(short) for short in shorts], None, 8)
            ledger.apply(Granted(lease))
            ledger.apply(Prepared(name, (), lease.devices))
        quirks = (
            Quirk("a", (exactly("01:00.0"), exactly("02:00.0"))),
            Quirk("b", (exactly("03:00.0"), exactly("04:00.0"))),
        )
        [event] = ask(ledger, on_vfio(three), Policy((), 2, quirks=quirks))
        assert isinstance(event, Conflict)
        assert event.leases == ("L1", "L2", "L3")
        assert "(quirk a); groups 3 and 4" in event.why
