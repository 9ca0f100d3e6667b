"""Config space is parsed as it stands there, whatever stands there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isod.kernel.config_space import ConfigSpace, parse_bytes, parse_config_space
from isod.model.survey import Acs, Ari, Express, PortType, Sriov

from .config_bytes import Written


def test_a_root_port_with_its_slot_and_acs() -> None:
    found = parse_bytes(Written(header_type=1).express(4, slot=7).acs(0x5D, 0x1D).bytes())
    assert found == ConfigSpace(
        header_type=1,
        capabilities=True,
        extended=True,
        express=Express(port=PortType.root_port, slot=7),
        acs=Acs(capabilities=0x5D, control=0x1D),
    )


@pytest.mark.parametrize(
    ("number", "port"),
    [
        (0x0, PortType.endpoint),
        (0x1, PortType.legacy_endpoint),
        (0x5, PortType.upstream_port),
        (0x6, PortType.downstream_port),
        (0x7, PortType.pci_bridge),
        (0x8, PortType.pcie_bridge),
        (0x9, PortType.integrated_endpoint),
        (0xA, PortType.event_collector),
        (0x3, PortType.reserved),
    ],
)
def test_each_kind_of_port(number: int, port: PortType) -> None:
    assert parse_bytes(Written().express(number).bytes()).express == Express(port=port)


def test_capabilities_may_stand_anywhere_in_their_lists() -> None:
    sriov = struct.pack("<IHHHHH", 0, 1, 0, 8, 8, 3)
    written = Written(header_type=0x80).capability(0x01, 0xC8).capability(0x05, 0x50)
    written.express(0, at=0xA0).extended(0x01, 0x100).extended(0x10, 0x160, sriov)
    found = parse_bytes(written.acs(0, 0, at=0x1E0).extended(0x0E, 0x150, b"\0\x01").bytes())
    assert found.multifunction
    assert found.express == Express(port=PortType.endpoint)
    assert found.acs == Acs(capabilities=0, control=0)
    assert found.ari == Ari(following=1)
    assert found.sriov == Sriov(total=8, enabled=3)


def test_virtual_functions_that_are_switched_off_are_not_there() -> None:
    numbers = struct.pack("<IHHHHH", 0, 0, 0, 8, 8, 3)
    found = parse_bytes(Written().express(0).extended(0x10, 0x100, numbers).bytes())
    assert found.sriov == Sriov(total=8, enabled=0)


def test_a_conventional_device_has_no_express_and_no_acs() -> None:
    found = parse_bytes(Written(size=256).capability(0x01, 0xDC).bytes())
    assert (found.capabilities, found.extended) == (True, True)
    assert (found.express, found.acs) == (None, None)


def test_a_device_without_any_list_has_been_read_whole() -> None:
    assert parse_bytes(Written(size=256).bytes()) == ConfigSpace(0, False, True, True)


def test_an_express_device_of_256_bytes_may_well_have_acs_where_nobody_can_look() -> None:
    found = parse_bytes(Written().express(4).acs(0x1D, 0x1D).bytes()[:256])
    assert found.express == Express(port=PortType.root_port)
    assert (found.extended, found.acs) == (False, None)


def test_64_bytes_leave_the_capabilities_unknown() -> None:
    found = parse_bytes(Written(header_type=0x81).express(4).acs(0x1D, 0x1D).bytes()[:64])
    assert found == ConfigSpace(header_type=1, multifunction=True)


def test_all_ones_say_nothing_at_all() -> None:
    assert parse_bytes(b"\xff" * 4096) == ConfigSpace()


def test_a_virtual_function_is_all_ones_in_its_ids_alone() -> None:
    found = parse_bytes(Written(ids=(0xFFFF, 0xFFFF)).express(0).bytes())
    assert found.express == Express(port=PortType.endpoint)


def test_a_list_that_runs_in_a_circle_is_not_believed() -> None:
    written = Written(size=256).capability(0x01, 0x40).capability(0x05, 0x50)
    written.space[0x51] = 0x40
    assert not parse_bytes(written.bytes()).capabilities


def test_what_was_found_in_a_circle_counts_and_what_was_not_is_unknown() -> None:
    written = Written().express(6).acs(0x1D, 0x0D).extended(0x01, 0x140)
    struct.pack_into("<I", written.space, 0x140, 0x0001 | 1 << 16 | 0x100 << 20)
    found = parse_bytes(written.bytes())
    assert found.acs == Acs(capabilities=0x1D, control=0x0D)
    assert not found.extended
    assert found.ari is None


def test_extended_space_that_nobody_answers_for_is_unknown() -> None:
    data = Written().express(4).bytes()[:256] + b"\xff" * 3840
    assert parse_bytes(data).extended is False


def test_a_pointer_into_the_header_ends_the_list_where_it_should_not() -> None:
    written = Written(size=256).capability(0x01, 0x40)
    written.space[0x41] = 0x10
    assert not parse_bytes(written.bytes()).capabilities


def test_a_capability_that_reaches_past_the_end_makes_its_list_unreadable() -> None:
    written = Written().express(6).extended(0x01, 0x100).extended(0x0D, 0xFFC)
    found = parse_bytes(written.bytes())
    assert (found.acs, found.extended) == (None, False)


def test_some_ports_of_intel_have_wider_registers() -> None:
    registers = struct.pack("<II", 0x1F, 0x1D)
    written = Written(ids=(0x8086, 0xA117), header_type=1).express(4)
    found = parse_bytes(written.extended(0x0D, 0x140, registers).bytes())
    assert found.acs is None  # the list begins at 256, whatever else there is
    written = Written(ids=(0x8086, 0xA117), header_type=1).express(4)
    found = parse_bytes(written.extended(0x0D, 0x100, registers).bytes())
    assert found.acs == Acs(capabilities=0x1F, control=0x1D)


def test_only_registers_that_mean_something_are_read() -> None:
    """Several chips lock up when undefined config space is read."""
    data = Written().capability(0x01, 0x80).express(4, at=0x40, slot=1).acs(0x1D, 0x1D).bytes()
    touched: set[int] = set()

    def read(at: int, count: int) -> bytes:
        touched.update(range(at, at + count))
        return data[at : at + count]

    assert parse_config_space(read, len(data)).acs is not None
    registers = [(0, 64), (0x80, 2), (0x40, 4), (0x54, 4), (0x100, 8)]
    assert touched == {at for first, count in registers for at in range(first, first + count)}


_HEADS = st.builds(
    lambda kind, status, pointer, ids: (
        bytes(ids)
        + b"\0\0"
        + bytes([status, 0])
        + b"\0" * 6
        + bytes([kind])
        + b"\0" * 37
        + bytes([pointer])
        + b"\0" * 11
    ),
    st.integers(0, 255),
    st.sampled_from([0, 0x10, 0xFF]),
    st.integers(0, 255),
    st.lists(st.integers(0, 255), min_size=4, max_size=4),
)
_ENTRY = st.sampled_from([0x10, 0x01, 0x05, 0x0D, 0x0E, 0xFF, 0, 0x40, 0x44, 0x50, 0xFC])
_BODIES = st.lists(_ENTRY, max_size=4032).map(bytes) | st.binary(max_size=4032)


@given(_HEADS, _BODIES)
@example(b"\xff" * 64, b"\xff" * 4032)
@example(b"", b"")
def test_any_bytes_are_parsed(head: bytes, body: bytes) -> None:
    """Nothing raises or hangs, and what was not read whole is never said to lack something."""
    found = parse_bytes(head + body)
    if len(head + body) < 64 or head[0x0E] == 0xFF:
        assert found == ConfigSpace()
    if found.extended and found.express is not None:
        assert len(head + body) > 256


@given(st.binary(min_size=64, max_size=4096), st.integers(0, 4096))
def test_reading_less_never_makes_up_more(data: bytes, end: int) -> None:
    """A reader that may not read on is told no fact that the whole would not have told."""
    whole = parse_config_space(lambda at, count: data[at : at + count], 4096)
    part = parse_config_space(lambda at, count: data[:end][at : at + count], 4096)
    for name in ("header_type", "express", "acs", "ari", "sriov"):
        assert getattr(part, name) in (None, getattr(whole, name))
    assert whole.capabilities or not part.capabilities
    assert whole.extended or not part.extended
