"""The guard: what the host needs is refused, whatever the rule, unless critical_ok lists it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isod.core.guard import check_guard, check_unbind
from isod.core.isolation import Isolation
from isod.core.reset_set import ResetSets
from isod.model.address import Address
from isod.model.critical import CriticalFacts, CriticalUse, Kind
from isod.model.host import Device
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.terms import Terms

from .build import at, bridge, device, host

ROUTE = CriticalUse("default route", "carries the default route (eth0)")
ROOT = CriticalUse("mounted disk", "holds / (nvme0n1p2)")
BEHIND_BRIDGE = (
    bridge("03:00.0", 14, None),
    device("04:01.0", 14, "e1000", bridges=(at("03:00.0"),)),
    device("04:02.0", 14, "e1000", bridges=(at("03:00.0"),)),
)


def facts(**uses: CriticalUse) -> CriticalFacts:
    """Uses by address, written ``n04_01_0`` for 04:01.0."""
    return CriticalFacts({_address(name): (use,) for name, use in uses.items()})


def _address(name: str) -> Address:
    bus, slot, function = name[1:].split("_")
    return at(f"{bus}:{slot}.{function}")


def guard(
    devices: tuple[Device, ...], known: CriticalFacts, *wanted: str, terms: Terms | None = None
) -> tuple[str, ...]:
    snapshot = host(*devices)
    requested = [snapshot.devices[at(short)] for short in wanted]
    groups = Isolation(snapshot).groups_of(one.address for one in requested)
    return check_guard(ResetSets(snapshot), known, requested, groups, terms or Terms())


def refusal(
    devices: tuple[Device, ...], known: CriticalFacts, *wanted: str, terms: Terms | None = None
) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        guard(devices, known, *wanted, terms=terms)
    assert caught.value.refusal.reason is Reason.host_critical
    return caught.value.refusal


def test_what_the_host_does_not_need_passes() -> None:
    assert guard(BEHIND_BRIDGE, facts(), "04:01.0") == ()
    elsewhere = facts(n01_00_0=ROUTE)
    assert guard((*BEHIND_BRIDGE, device("01:00.0", 12, "e1000e")), elsewhere, "04:01.0") == ()


def test_the_device_itself() -> None:
    refused = refusal(BEHIND_BRIDGE, facts(n04_01_0=ROUTE), "04:01.0")
    assert refused.message == "04:01.0 carries the default route (eth0)"
    assert refused.hint == "Move the route, or list 04:01.0 in critical_ok of your rule."
    assert refused.details["devices"] == ["pci:0000:04:01.0"]


def test_a_sibling_says_which_group_it_shares() -> None:
    refused = refusal(BEHIND_BRIDGE, facts(n04_01_0=ROUTE), "04:02.0")
    assert refused.message == (
        "04:02.0 shares group 14 with 04:01.0, which carries the default route (eth0)"
    )
    assert refused.hint == "Move the route, or list 04:01.0 in critical_ok of your rule."


def test_taking_every_driver_by_rule_does_not_help() -> None:
    terms = Terms(take_from=("e1000", "nvme"))
    refusal(BEHIND_BRIDGE, facts(n04_01_0=ROUTE), "04:01.0", terms=terms)


def test_critical_ok_lets_exactly_its_address_pass_and_warns() -> None:
    known = facts(n04_01_0=ROUTE)
    warnings = guard(
        BEHIND_BRIDGE, known, "04:02.0", terms=Terms(critical_ok=("pci:0000:04:01.0",))
    )
    assert warnings == ("04:01.0 carries the default route (eth0); critical_ok lets it pass",)
    refusal(BEHIND_BRIDGE, known, "04:02.0", terms=Terms(critical_ok=("pci:0000:04:02.0",)))


def test_every_critical_address_must_be_listed() -> None:
    known = facts(n04_01_0=ROUTE, n04_02_0=ROOT)
    listed = Terms(critical_ok=("pci:0000:04:01.0",))
    refused = refusal(BEHIND_BRIDGE, known, "04:01.0", terms=listed)
    assert refused.details["devices"] == ["pci:0000:04:02.0"]
    both = refusal(BEHIND_BRIDGE, known, "04:01.0")
    assert both.message == "04:01.0 carries the default route (eth0); 04:02.0 is needed as well"
    assert both.hint == (
        "Move the route, unmount it, or list 04:01.0 and 04:02.0 in critical_ok of your rule."
    )


def test_an_unbound_member_that_is_needed_all_the_same() -> None:
    chipset = device("00:1f.0", 9, None, device_class="060100")
    audio = device("00:1f.3", 9, "snd_hda_intel", device_class="040300")
    known = facts(n00_1f_0=CriticalUse("chipset", "is an ISA bridge of the chipset"))
    refused = refusal((chipset, audio), known, "00:1f.3")
    assert refused.message == (
        "00:1f.3 shares group 9 with 00:1f.0, which is an ISA bridge of the chipset"
    )
    assert refused.hint == "List 00:1f.0 in critical_ok of your rule."


def test_a_virtual_function_in_use_goes_with_its_physical_one() -> None:
    physical = device("01:00.0", 2, "igb", virtual_functions=(at("01:10.0"),))
    virtual = device("01:10.0", 3, "igbvf", physical_function=at("01:00.0"))
    refused = refusal((physical, virtual), facts(n01_10_0=ROUTE), "01:00.0")
    assert refused.message == (
        "01:00.0 has the virtual function 01:10.0, which carries the default route (eth0)"
    )


def test_a_virtual_function_may_go_while_its_physical_one_works_for_the_host() -> None:
    physical = device("01:00.0", 2, "igb", virtual_functions=(at("01:10.0"),))
    virtual = device("01:10.0", 3, "igbvf", physical_function=at("01:00.0"))
    assert guard((physical, virtual), facts(n01_00_0=ROUTE), "01:10.0") == ()


def test_what_hangs_below_a_controller_goes_with_it() -> None:
    controller = device("00:0e.0", 4, "vmd", device_class="010400")
    disk = device("10:00.0", 5, "nvme", bridges=(at("00:0e.0"),), device_class="010802")
    refused = refusal((controller, disk), facts(n10_00_0=ROOT), "00:0e.0")
    assert refused.message == "below 00:0e.0 hangs 10:00.0, which holds / (nvme0n1p2)"


def test_a_bridge_that_loses_its_driver_takes_what_is_below_along() -> None:
    hot_plug = bridge("03:00.0", 14, "shpchp")
    wanted = device("04:01.0", 14, "e1000", bridges=(at("03:00.0"),))
    other = device("05:00.0", 15, "nvme", bridges=(at("04:00.0"), at("03:00.0")))
    refusal((hot_plug, wanted, other), facts(n05_00_0=ROOT), "04:01.0")
    port = bridge("03:00.0", 14, "pcieport")
    assert guard((port, wanted, other), facts(n05_00_0=ROOT), "04:01.0") == ()


class TestOneBus:
    """Two groups below one port."""

    devices = (
        replace(bridge("00:05.0", 1), secondary_bus="0000:01"),
        device("01:00.0", 2, "igb", bridges=(at("00:05.0"),)),
        device("01:00.1", 3, "igb", bridges=(at("00:05.0"),)),
    )

    def test_the_bus_counts_where_the_rule_lets_a_hot_reset_happen(self) -> None:
        refused = refusal(
            self.devices, facts(n01_00_1=ROUTE), "01:00.0", terms=Terms(reset="whole-set")
        )
        assert refused.message == (
            "a hot reset of 01:00.0 hits 01:00.1, which carries the default route (eth0)"
        )

    def test_what_the_reset_set_brings_along_is_looked_at(self) -> None:
        snapshot = host(*self.devices)
        with pytest.raises(
            RefusedError, match=r"the reset set brings 01:00.1 along, which carries"
        ):
            check_guard(
                ResetSets(snapshot),
                facts(n01_00_1=ROUTE),
                [self.devices[1]],
                [snapshot.groups[2], snapshot.groups[3]],
                Terms(),
                extras=[self.devices[2]],
            )

    def test_what_a_quirk_joins_is_looked_at(self) -> None:
        snapshot = host(*self.devices)
        with pytest.raises(RefusedError, match=r"a quirk joins 01:00.0 with 01:00.1, which carr"):
            check_guard(
                ResetSets(snapshot),
                facts(n01_00_1=ROUTE),
                [self.devices[1]],
                [snapshot.groups[2], snapshot.groups[3]],
                Terms(),
            )

    def test_else_each_function_stands_for_itself(self) -> None:
        assert guard(self.devices, facts(n01_00_1=ROUTE), "01:00.0") == ()


def test_nothing_known_refuses_everything() -> None:
    refused = refusal(BEHIND_BRIDGE, CriticalFacts(unread="looking took too long"), "04:01.0")
    assert refused.message.startswith("04:01.0 may be needed by the host (looking took too long)")


def test_many_uses_are_told_in_a_line() -> None:
    uses = tuple(CriticalUse("mounted disk", f"holds /m{n} (sda{n})") for n in range(5))
    known = CriticalFacts({at("04:01.0"): uses})
    refused = refusal(BEHIND_BRIDGE, known, "04:01.0")
    assert refused.message == "04:01.0 holds /m0 (sda0) and holds /m1 (sda1) and 3 more"


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("swap", "Turn that swap off, or list"),
        ("another namespace", "Give its network interface back, or list"),
        ("display", "Start the machine on another display, or list"),
        ("unknown", "List"),
    ],
)
def test_each_kind_says_what_to_do(kind: Kind, hint: str) -> None:
    known = CriticalFacts({at("04:01.0"): (CriticalUse(kind, "is needed"),)})
    assert str(refusal(BEHIND_BRIDGE, known, "04:01.0").hint).startswith(hint)


# --- once more, right before a driver is taken ------------------------------------------------


def unbind(known: CriticalFacts, wanted: str, *listed: str) -> None:
    port = bridge("00:02.0", 1, "shpchp")
    card = device("01:00.0", 12, "igb", bridges=(at("00:02.0"),), virtual_functions=(VF.address,))
    snapshot = host(port, card, VF, device("02:00.0", 13, "nvme"))
    check_unbind(snapshot, known, at(wanted), listed)


VF = device("01:10.0", 20, "igbvf", bridges=(at("00:02.0"),), physical_function=at("01:00.0"))


@pytest.mark.parametrize(
    ("wanted", "needed"),
    [("02:00.0", "02:00.0"), ("01:00.0", "01:10.0"), ("00:02.0", "01:00.0")],
    ids=["itself", "its virtual function", "what is below it"],
)
def test_a_driver_is_not_taken_if_what_goes_with_it_is_needed_by_now(
    wanted: str, needed: str
) -> None:
    unbind(CriticalFacts(), wanted)
    known = CriticalFacts({at(needed): (ROOT,)})
    with pytest.raises(RefusedError, match="holds /") as caught:
        unbind(known, wanted)
    assert caught.value.refusal.reason is Reason.host_critical
    unbind(known, wanted, str(at(needed)))


def test_a_driver_is_not_taken_if_it_cannot_be_told() -> None:
    with pytest.raises(RefusedError, match="may be needed"):
        unbind(CriticalFacts(unread="looking it up took too long"), "02:00.0")


def test_needs_of_others_keep_nobody_from_a_driver() -> None:
    unbind(CriticalFacts({at("01:00.0"): (ROUTE,)}), "02:00.0")
