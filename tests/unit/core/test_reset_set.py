"""Reset sets: what a hot reset hits, seen from sysfs alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isod.core.reset_set import ResetSets
from isod.model.host import Device, HostSnapshot

from .build import ALL, at, bridge, device, host


def port(short: str, below: str, hotplug: str | None = None) -> Device:
    return replace(bridge(short, None), secondary_bus=f"0000:{below}", hotplug_driver=hotplug)


def hits(snapshot: HostSnapshot, short: str) -> tuple[str, list[str]] | None:
    found = ResetSets(snapshot).of(at(short))
    return None if found is None else (found.kind, [a.short for a in found.members])


def on_kernel(snapshot: HostSnapshot, release: str) -> HostSnapshot:
    return replace(snapshot, features=replace(ALL, kernel=release))


def test_all_functions_below_a_port_are_hit_together() -> None:
    snapshot = host(port("00:01.0", "01"), device("01:00.0", 1), device("01:00.1", 2))
    assert hits(snapshot, "01:00.0") == ("bus", ["01:00.0", "01:00.1"])
    assert hits(snapshot, "01:00.1") == ("bus", ["01:00.0", "01:00.1"])


def test_nothing_on_a_root_bus_can_be_hot_reset() -> None:
    snapshot = host(device("00:02.0", 1), port("00:01.0", "01"), device("01:00.0", 2))
    assert hits(snapshot, "00:02.0") is None
    assert hits(snapshot, "00:01.0") is None


def test_a_bus_takes_everything_below_its_bridges_along() -> None:
    snapshot = host(
        port("00:01.0", "01"),
        device("01:00.0", 1),
        port("01:01.0", "02"),
        device("02:00.0", 2),
        port("02:01.0", "03"),
        device("03:00.0", 3),
        device("04:00.0", 4),
    )
    everything = ["01:00.0", "01:01.0", "02:00.0", "02:01.0", "03:00.0"]
    assert hits(snapshot, "01:00.0") == ("bus", everything)
    assert hits(snapshot, "02:00.0") == ("bus", ["02:00.0", "02:01.0", "03:00.0"])
    assert hits(snapshot, "03:00.0") == ("bus", ["03:00.0"])


def test_virtual_functions_are_hit_with_the_bus_they_are_on_and_no_other() -> None:
    physical = device("01:00.0", 1, virtual_functions=(at("01:10.0"), at("02:10.0")))
    snapshot = host(
        port("00:01.0", "01"),
        physical,
        device("01:10.0", 2, physical_function=at("01:00.0")),
        device("02:10.0", 3, physical_function=at("01:00.0")),
    )
    assert hits(snapshot, "01:00.0") == ("bus", ["01:00.0", "01:10.0"])
    assert hits(snapshot, "01:10.0") == ("bus", ["01:00.0", "01:10.0"])
    assert hits(snapshot, "02:10.0") is None


def test_a_slot_that_its_port_can_reset_goes_before_the_bus() -> None:
    snapshot = host(port("00:01.0", "01", "pciehp"), device("01:00.0", 1), port("01:00.1", "02"))
    assert hits(snapshot, "01:00.0") == ("slot", ["01:00.0", "01:00.1"])


def test_a_slot_that_nobody_can_reset_counts_for_nothing() -> None:
    snapshot = host(port("00:01.0", "01"), device("01:00.0", 1, slot="3"), device("01:01.0", 1))
    assert hits(snapshot, "01:00.0") == ("bus", ["01:00.0", "01:01.0"])


@pytest.mark.parametrize(
    ("release", "of_zero", "of_ten"),
    [
        ("7.2.12-isod", ("slot", ["01:00.0", "01:10.0"]), ("slot", ["01:00.0", "01:10.0"])),
        ("6.12.95", ("slot", ["01:00.0"]), ("bus", ["01:00.0", "01:10.0"])),
        ("unknown", ("slot", ["01:00.0", "01:10.0"]), ("slot", ["01:00.0", "01:10.0"])),
    ],
)
def test_functions_past_the_seventh_joined_their_slot_late(
    release: str, of_zero: object, of_ten: object
) -> None:
    functions = (device("01:00.0", 1), device("01:10.0", 1))
    snapshot = on_kernel(host(port("00:01.0", "01", "pciehp"), *functions), release)
    assert hits(snapshot, "01:00.0") == of_zero
    assert hits(snapshot, "01:10.0") == of_ten


def test_bridges_that_claim_each_others_bus_do_not_hang() -> None:
    snapshot = host(port("01:00.0", "02"), port("02:00.0", "01"), device("01:01.0", 1))
    assert hits(snapshot, "01:01.0") == ("bus", ["01:00.0", "01:01.0", "02:00.0"])


def test_what_is_not_there_has_no_set() -> None:
    assert hits(host(), "01:00.0") is None
    assert ResetSets(host()).of(at("vdpa:vdpa0")) is None


def test_a_set_counts_as_one_only_if_vfio_counts_it_as_one() -> None:
    snapshot = host(
        port("00:01.0", "01", "pciehp"),
        device("01:00.0", 1),
        device("01:00.1", 1),
        device("01:01.0", 1),
        device("01:10.0", 2, physical_function=at("01:00.0")),
        device("00:02.0", 3),
    )

    def names(release: str) -> int:
        sets = ResetSets(on_kernel(snapshot, release))
        return len({sets.device_set(d) for d in snapshot.devices.values() if not d.is_bridge})

    assert names("7.2.12") == 3
    assert names("6.12.95") == 4
