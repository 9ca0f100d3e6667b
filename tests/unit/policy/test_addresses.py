"""Addresses in policy files: what could never match is a fault, and short forms are completed."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.core.isolation import Isolation
from isod.model.address import Address
from isod.model.address_pattern import address_pattern
from isod.model.critical import CriticalFacts, CriticalUse
from isod.model.host import HostSnapshot
from tests.unit.core.build import at, bridge, device, host

from .asking import ALICE, faults, policy_of, rule, says, trial

MDEV = "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"


@pytest.mark.parametrize("short", ["pci:01:00.*", "pci:01:*", "pci:0[01]:00.0", "pci:01:00.0"])
def test_a_deny_without_a_domain_is_meant_for_domain_0000(short: str) -> None:
    rules = trial(rule("no", "deny", what=f'[{{ address = "{short}" }}]'), rule("all"))
    assert says(rules, ALICE, "01:00.0") == "refused: denied"
    assert says(rules, ALICE, "05:00.1") == "allowed by all"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("pci:0000:01:00.0", "pci:0000:01:00.0"),
        ("pci:01:00.0", "pci:0000:01:00.0"),
        ("01:00.0", "pci:0000:01:00.0"),
        ("pci:0000:0A:00.0", "pci:0000:0a:00.0"),
        ("pci:00000:0A:00.0", "pci:0000:0a:00.0"),
        ("pci:10000:01:00.0", "pci:10000:01:00.0"),
        (MDEV.replace("b8f4f2", "B8F4F2"), MDEV),
        ("vdpa:Some-Name", "vdpa:Some-Name"),
        ("pci:*", "pci:*"),
        ("pci:0000:*", "pci:0000:*"),
        ("pci:0A:*", "pci:0000:0a:*"),
        ("pci:??:00.0", "pci:0000:??:00.0"),
        ("pci:1000[01]:*", "pci:1000[01]:*"),
        ("pci:*:00.0", "pci:*:00.0"),
        ("mdev:83B8*", "mdev:83b8*"),
        ("vdpa:Net*", "vdpa:Net*"),
    ],
)
def test_addresses_are_kept_as_devices_are_named(written: str, meant: str) -> None:
    assert address_pattern(written) == meant


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("pci:3:00.0", "is no address"),
        ("pci:0000:01:00.8", "is no address"),
        ("pci:01:20.*", "matches nothing"),
        ("pci:0000:3:00.*", "matches nothing"),
        ("pci:0000:01:00.[89]", "matches nothing"),
        ("pci:0000:01:00.0*?", "matches nothing"),
        ("pci:00001:*", "matches nothing"),
        ("pci:0000:01:00.[0", "matches nothing"),
        ("mdev:83b8f4f2-*-*-*-*-*", "matches nothing"),
        ("mdev:*g*", "matches nothing"),
        ("vdpa:*/*", "matches nothing"),
        ("usb:*", "starts with"),
        ("*", "starts with"),
        ("pci:*" + "?*" * 200, "at most 256"),
    ],
)
def test_what_could_match_nothing_is_a_fault(written: str, why: str) -> None:
    [fault] = faults(rule("x", "deny", what=f'[{{ address = "{written}" }}]'))
    assert fault.startswith("50-test.toml: rule 1 (x), what 1, address: ")
    assert why in fault


@pytest.mark.parametrize("written", ["pci:1*:00.0", "pci:00*", "pci:?*", "pci:[!f]*"])
def test_a_pattern_must_say_the_domain_where_it_can_be_read_both_ways(written: str) -> None:
    [fault] = faults(rule("x", "deny", what=f'[{{ address = "{written}" }}]'))
    assert f"say which domain is meant, as in 'pci:0000:{written[4:]}'" in fault


def test_the_exceptions_of_the_guard_may_be_written_as_it_names_them() -> None:
    facts = CriticalFacts({at("01:00.0"): (CriticalUse("swap", "holds swap"),)})
    rules = rule("x", terms='critical_ok = ["01:00.0"]')
    assert says(trial(rules, facts=facts), ALICE, "01:00.0") == "allowed by x"
    assert faults(rule("x", terms='critical_ok = ["pci:1:00.0"]'))
    assert faults(rule("x", terms='critical_ok = ["pci:01:00.*"]'))


def _behind_bridges() -> HostSnapshot:
    above = (at("0a:00.0"),)
    return host(
        bridge("0a:00.0", None, below="0b"),
        device("0b:00.0", 1, bridges=above),
        device("0b:01.0", 2, bridges=above),
    )


def test_a_quirk_joins_what_sits_below_the_bridge_that_it_names() -> None:
    for name in ("pci:0000:0a:00.0", "pci:0A:00.0", "0A:00.0"):
        policy = policy_of(f'[[quirk]]\nname = "q"\nbridge = "{name}"\n')
        found = Isolation(_behind_bridges(), policy).groups_of([at("0b:00.0")])
        assert [group.number for group in found] == [1, 2]


@pytest.mark.parametrize("name", ["pci:a:00.0", MDEV])
def test_a_quirk_that_could_join_nothing_is_a_fault(name: str) -> None:
    assert faults(f'[[quirk]]\nname = "q"\nbridge = "{name}"\n')


_TEXT = st.text("0123456789abcdef:.-*?[]!", max_size=20)
_PCI = st.from_regex(r"pci:([1-9a-f]?[0-9a-f]{4}):[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", fullmatch=True)


@given(bus=st.sampled_from(["pci:", "mdev:", "vdpa:"]), text=_TEXT, address=_PCI)
def test_no_pattern_that_matches_a_device_is_refused_as_one_that_matches_nothing(
    bus: str, text: str, address: str
) -> None:
    try:
        kept = address_pattern(bus + text)
    except ValueError as error:
        if "say which domain" not in str(error):
            assert not fnmatchcase(address, bus + text)
    else:
        if fnmatchcase(address, bus + text):
            assert fnmatchcase(address, kept)


@given(address=_PCI, places=st.sets(st.integers(4, 20)), bare=st.booleans())
def test_a_pattern_made_of_an_address_matches_it(
    address: str, places: set[int], bare: bool
) -> None:
    letters = [
        "?" if place in places and letter.isalnum() else letter
        for place, letter in enumerate(address)
    ]
    written = "".join(letters)
    if bare and re.match("pci:0000:", written):
        written = written.replace("pci:0000:", "pci:", 1)
    assert fnmatchcase(str(Address.parse(address)), address_pattern(written))
