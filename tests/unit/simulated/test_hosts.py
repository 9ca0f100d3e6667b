"""The named hosts are built as they say, and the scanner reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from isod.kernel.simulated import open_host
from isod.kernel.simulated.build import build, is_host
from isod.kernel.simulated.host import NotAHostError
from isod.kernel.simulated.hosts import DEMO, HOSTS, many
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.model.address import Address

from .played import Played


@pytest.mark.parametrize("name", HOSTS)
def test_every_device_of_a_host_is_scanned(tmp_path: Path, name: str) -> None:
    played = Played(tmp_path / name, name)
    found = played.kernel.snapshot(7)
    host = HOSTS[name]
    assert found.sequence == 7
    assert {device.name for device in found.devices} == {place.name for place in host.places}
    for place in host.places:
        device = found.devices[Address.pci(place.name)]
        wanted = place.model.driver if place.driver is None else place.driver or None
        assert (device.driver, device.group) == (wanted, place.group)
        assert device.vendor == place.model.vendor
        assert device.is_bridge == place.model.bridge
        assert device.driver_override is None
        if place.group is not None:
            assert device.address in found.groups[place.group].members


def test_bridges_above_are_seen_nearest_first(standard: Played) -> None:
    bridges = standard.device("04:01.0").bridges
    assert [bridge.short for bridge in bridges] == ["03:00.0", "00:03.0"]


def test_virtual_functions_know_their_physical_one(sriov: Played) -> None:
    physical = sriov.device("01:00.0")
    assert [function.short for function in physical.virtual_functions] == ["01:10.0", "02:10.0"]
    assert sriov.device("02:10.0").physical_function == physical.address


def test_slots_serials_and_regions_are_seen(tmp_path: Path, demo: Played) -> None:
    assert demo.device("02:00.0").slot == "2"
    assert demo.device("02:00.0").serial == "S4EV1"
    assert demo.device("41:00.0").group is None
    mapped = Played(tmp_path / "mapped", "firmware-mapping").kernel.look_group(2)
    assert mapped is not None
    assert [region.kind for region in mapped.firmware_mappings] == ["direct"]


def test_an_empty_directory_becomes_the_demo_and_stays_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    first = open_host(tmp_path).snapshot(0)
    again = open_host(tmp_path).snapshot(0)
    assert len(first.devices) == len(DEMO.places)
    assert again == first, "a host that is there is used as it is"


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    assert not is_host(tmp_path)
    with pytest.raises(NotAHostError):
        open_host(tmp_path)
    with pytest.raises(NotAHostError):
        SimulatedKernel(tmp_path)


def test_a_large_host_is_built_and_scanned(tmp_path: Path) -> None:
    build(tmp_path / "many", many(300))
    found = SimulatedKernel(tmp_path / "many").snapshot(0)
    assert len(found.groups) == 300
    assert (
        sum(device.vendor == "1b36" and not device.is_bridge for device in found.devices.values())
        == 300
    )


def test_many_devices_are_distinct_across_domains() -> None:
    names = [place.name for place in many(60_000).places]
    assert len(names) == len(set(names))
    for name in names:
        assert Address.parse(name).name == name
