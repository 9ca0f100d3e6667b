"""Whether one function redirects its requests: the kernel's rule, and unknown where it was not
read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.core.acs import REQUIRED, judge
from isod.core.acs_quirks import isolated_by_quirk
from isod.model.survey import Acs, Express, PortType, SurveyedFunction

from .surveyed import of, plain, port, root_port

PORTS = (PortType.root_port, PortType.downstream_port)
SINGLE = (
    PortType.endpoint,
    PortType.legacy_endpoint,
    PortType.upstream_port,
    PortType.integrated_endpoint,
)


def verdict(thing: tuple[object, SurveyedFunction | None], kind: PortType | None) -> str:
    device, facts = thing
    return judge(device, facts, kind, on_root_bus=False).redirects  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", PORTS)
def test_a_port_redirects_with_all_four_controls_on(kind: PortType) -> None:
    on = Acs(capabilities=0x5F, control=0x1D)
    assert verdict(of(port("00:01.0", 1), kind, acs=on), kind) == "yes"


@pytest.mark.parametrize("bit", [0x01, 0x04, 0x08, 0x10])
@pytest.mark.parametrize("kind", PORTS)
def test_a_port_with_one_control_off_does_not(kind: PortType, bit: int) -> None:
    one_off = Acs(capabilities=0x1D, control=0x1D & ~bit)
    device, facts = of(port("00:01.0", 1), kind, acs=one_off)
    found = judge(device, facts, kind, on_root_bus=True)
    assert found.redirects == "no"
    assert len(found.missing) == 1
    assert found.missing[0] in found.why


def test_a_control_that_is_not_there_counts_as_wired_on() -> None:
    partly = Acs(capabilities=0x05, control=0x05)
    assert verdict(of(port("00:01.0", 1), PortType.root_port, acs=partly), PORTS[0]) == "yes"


@pytest.mark.parametrize("kind", PORTS)
def test_a_port_without_acs_does_not_redirect(kind: PortType) -> None:
    assert verdict(of(port("00:01.0", 1), kind), kind) == "no"


@pytest.mark.parametrize("kind", SINGLE)
def test_a_single_function_has_nobody_beside_it(kind: PortType) -> None:
    assert verdict(of(plain("01:00.0", 1), kind), kind) == "yes"


@pytest.mark.parametrize("kind", SINGLE[:3])
def test_several_functions_need_acs(kind: PortType) -> None:
    assert verdict(of(plain("01:00.0", 1), kind, several=True), kind) == "no"
    assert verdict(of(plain("01:00.1", 1), kind), kind) == "no"


def test_a_virtual_function_is_no_function_among_several() -> None:
    virtual = plain("01:00.2", 1, physical_function=plain("01:00.0", 1).address)
    assert verdict(of(virtual, PortType.endpoint), PortType.endpoint) == "yes"


@pytest.mark.parametrize("kind", [PortType.pci_bridge, PortType.pcie_bridge, None])
def test_conventional_buses_never_redirect(kind: PortType | None) -> None:
    everything = Acs(capabilities=0x7F, control=0x7F)
    assert verdict(of(port("03:00.0", 1), kind, acs=everything), kind) == "no"


def test_what_was_not_surveyed_is_unknown() -> None:
    assert verdict((plain("01:00.0", 1), None), None) == "unknown"


def test_what_does_not_answer_is_unknown() -> None:
    silent = of(plain("01:00.0", 1), None, header_type=None, capabilities=False, extended=False)
    assert verdict(silent, None) == "unknown"


def test_64_bytes_are_unknown_and_not_conventional() -> None:
    cut = of(plain("01:00.0", 1), None, capabilities=False, extended=False)
    assert verdict(cut, None) == "unknown"


def test_a_port_whose_extended_space_nobody_reaches_is_unknown() -> None:
    assert verdict(root_port("00:01.0", 1, None, extended=False), PortType.root_port) == "unknown"


def test_a_port_of_no_known_kind_is_unknown() -> None:
    assert verdict(of(port("00:01.0", 1), PortType.reserved), PortType.reserved) == "unknown"


@given(
    kind=st.sampled_from([None, *PortType]),
    acs=st.none() | st.builds(Acs, capabilities=st.integers(0, 127), control=st.integers(0, 127)),
    several=st.booleans(),
    capabilities=st.booleans(),
    extended=st.booleans(),
    header=st.sampled_from([0, 1, None]),
)
def test_whatever_config_space_says_yes_needs_a_reason(
    kind: PortType | None,
    acs: Acs | None,
    several: bool,
    capabilities: bool,
    extended: bool,
    header: int | None,
) -> None:
    device = plain("01:00.0", 1)
    facts = SurveyedFunction(
        address=device.address,
        generation=device.generation,
        header_type=header,
        multifunction=several,
        capabilities=capabilities,
        extended=extended,
        express=None if kind is None else Express(port=kind),
        acs=acs,
    )
    found = judge(device, facts, kind, on_root_bus=False)
    if found.redirects != "yes":
        return
    assert header is not None
    assert kind is not None
    on = acs is not None and not REQUIRED & acs.capabilities & ~acs.control
    alone = kind not in PORTS and not several
    assert on or alone or kind is PortType.integrated_endpoint


class TestQuirks:
    def test_a_nic_that_its_vendor_vouches_for(self) -> None:
        assert isolated_by_quirk("8086", "10c9", PortType.endpoint, on_root_bus=False) is True
        assert isolated_by_quirk("8086", "10d3", PortType.endpoint, on_root_bus=False) is False

    def test_a_port_is_known_only_as_a_port(self) -> None:
        assert isolated_by_quirk("17cb", "0400", PortType.root_port, on_root_bus=True) is True
        assert isolated_by_quirk("17cb", "0400", PortType.endpoint, on_root_bus=True) is False

    def test_functions_of_intels_processors(self) -> None:
        kind = PortType.integrated_endpoint
        assert isolated_by_quirk("8086", "ffff", kind, on_root_bus=True) is True

    def test_a_chipset_port_depends_on_what_cannot_be_seen(self) -> None:
        device, facts = of(port("00:1c.0", 1, vendor="8086", product="8c10"), PortType.root_port)
        found = judge(device, facts, PortType.root_port, on_root_bus=True)
        assert found.redirects == "unknown"
        assert "chipset" in found.why

    def test_amds_southbridge_on_the_root_bus_alone(self) -> None:
        assert isolated_by_quirk("1022", "780f", None, on_root_bus=True) is True
        assert isolated_by_quirk("1022", "780f", None, on_root_bus=False) is False

    def test_an_unreadable_id_has_no_quirk(self) -> None:
        assert isolated_by_quirk("", "", None, on_root_bus=True) is False
