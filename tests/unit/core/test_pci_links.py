"""Which devices share an IOMMU group, from config space and topology."""

from __future__ import annotations

from isod.core.pci_links import predicted_groups
from isod.model.host import HostSnapshot
from isod.model.survey import Acs, PortType

from .build import at
from .surveyed import (
    BEHIND_A_BRIDGE,
    SWITCH,
    TWO_FUNCTIONS,
    dark,
    machine,
    of,
    plain,
    port,
    root_port,
)


def predicted(snapshot: HostSnapshot) -> list[str] | None:
    """Groups of more than one device."""
    found = predicted_groups(snapshot)
    if found is None:
        return None
    return [" ".join(a.short for a in sorted(group)) for group in found if len(group) > 1]


def test_everything_behind_a_bridge_to_pci_goes_with_the_bridge() -> None:
    assert predicted(machine(*BEHIND_A_BRIDGE)) == ["03:00.0 04:01.0 04:02.0"]


def test_a_conventional_bridge_on_the_root_bus_does_the_same() -> None:
    bridge = of(port("00:1e.0", 5, vendor="8086", product="244e"), None)
    below = of(plain("01:05.0", 5, "00:1e.0"), None)
    assert predicted(machine(bridge, below)) == ["00:1e.0 01:05.0"]


def test_bridges_below_bridges_are_one_group() -> None:
    inner = of(port("04:02.0", 14, "03:00.0", "00:03.0", product="0001"), None)
    below = of(plain("05:01.0", 14, "04:02.0", "03:00.0", "00:03.0"), None)
    found = predicted(machine(*BEHIND_A_BRIDGE[:3], inner, below))
    assert found == ["03:00.0 04:01.0 04:02.0 05:01.0"]


def test_functions_without_acs_go_together() -> None:
    assert predicted(machine(*TWO_FUNCTIONS)) == ["01:00.0 01:00.1"]


def test_functions_with_acs_do_not() -> None:
    on = Acs(capabilities=0x4C, control=0x0C)
    port_, one, other = TWO_FUNCTIONS
    apart = of(other[0], PortType.endpoint, several=True, acs=on)
    assert predicted(machine(port_, one, apart)) == []


def test_a_switch_that_redirects_keeps_its_devices_apart() -> None:
    assert predicted(machine(*SWITCH)) == []


def test_a_downstream_port_without_acs_goes_with_what_is_below() -> None:
    things = list(SWITCH)
    things[2] = of(things[2][0], PortType.downstream_port)
    assert predicted(machine(*things)) == ["06:00.0 07:00.0"]


def test_a_root_port_without_acs_takes_its_whole_hierarchy() -> None:
    root = root_port("00:04.0", 4, None)
    found = predicted(machine(root, *SWITCH[1:]))
    assert found == ["00:04.0 05:00.0 06:00.0 06:01.0 07:00.0 08:00.0"]


def test_root_ports_of_one_slot_without_acs_join_what_is_below_both() -> None:
    found = predicted(
        machine(
            root_port("00:10.0", 1, None, several=True),
            root_port("00:10.1", 1, None, several=True),
            of(plain("01:00.0", 1, "00:10.0"), PortType.endpoint),
            of(plain("02:00.0", 1, "00:10.1"), PortType.endpoint),
            root_port("00:11.0", 2, None),
            of(plain("03:00.0", 2, "00:11.0"), PortType.endpoint),
        )
    )
    assert found == ["00:10.0 00:10.1 01:00.0 02:00.0", "00:11.0 03:00.0"]


def test_virtual_functions_are_on_their_own() -> None:
    physical = plain("01:00.0", 2, "00:01.0")
    virtual = plain("01:10.0", 3, "00:01.0", physical_function=at("01:00.0"))
    other_bus = plain("02:10.0", 4, "00:01.0", physical_function=at("01:00.0"))
    found = predicted(
        machine(
            root_port("00:01.0", 1),
            *(of(thing, PortType.endpoint) for thing in (physical, virtual, other_bus)),
        )
    )
    assert found == []


def test_a_chip_that_uses_another_functions_id() -> None:
    chip = {"vendor": "1b4b", "product": "9123"}
    on = Acs(capabilities=0x0C, control=0x0C)
    one = of(plain("01:00.0", 2, "00:01.0", **chip), PortType.endpoint, several=True, acs=on)
    other = of(plain("01:00.1", 2, "00:01.0"), PortType.endpoint, several=True, acs=on)
    assert predicted(machine(root_port("00:01.0", 1), one, other)) == ["01:00.0 01:00.1"]


def test_a_controller_with_a_domain_of_its_own_lends_its_id_to_all_below() -> None:
    controller = of(
        plain("00:0e.0", 7, vendor="8086", product="467f"), PortType.integrated_endpoint
    )
    inner = of(port("10000:e0:06.0", 7, "00:0e.0"), PortType.root_port)
    disk = of(plain("10000:e1:00.0", 7, "10000:e0:06.0", "00:0e.0"), PortType.endpoint)
    found = predicted(machine(controller, inner, disk))
    assert found == ["00:0e.0 10000:e0:06.0 10000:e1:00.0"]


def test_a_port_that_cannot_be_where_it_is_is_the_other_kind() -> None:
    """Some switches have their ports' kinds the wrong way round."""
    things = list(SWITCH)
    things[1] = of(things[1][0], PortType.downstream_port)
    assert predicted(machine(*things)) == []


def test_devices_that_no_iommu_covers_are_in_no_group() -> None:
    assert predicted_groups(machine(of(plain("01:00.0", None), PortType.endpoint))) == ()


def test_without_config_space_nothing_is_predicted() -> None:
    for things in (BEHIND_A_BRIDGE, TWO_FUNCTIONS, SWITCH):
        assert predicted_groups(machine(*map(dark, things))) is None


def test_one_port_unread_is_enough() -> None:
    port_, one, other = TWO_FUNCTIONS
    assert predicted_groups(machine(dark(port_), one, other)) is None


def test_what_could_not_change_anything_need_not_be_read() -> None:
    port_, one, other = BEHIND_A_BRIDGE[:3], BEHIND_A_BRIDGE[3], root_port("00:05.0", 9)
    assert predicted(machine(*port_, dark(one), dark(other))) == ["03:00.0 04:01.0 04:02.0"]
