"""Which ports run the slot below them: what decides between a slot's reset and a bus's."""

from __future__ import annotations

from pathlib import Path

from isod.core.reset_set import ResetSets
from isod.kernel.scan import scan_device, scan_host
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import HOSTS
from isod.model.address import Address
from isod.model.host import Features

from .fake_sysfs import add_device, add_group


def test_a_port_is_known_by_its_hot_plug_service(tmp_path: Path) -> None:
    group = add_group(tmp_path, 5)
    add_device(tmp_path, "0000:00:01.0", group=group, secondary_bus_number="1")
    add_device(tmp_path, "0000:00:02.0", group=group, secondary_bus_number="2")
    services = tmp_path / "sys/bus/pci_express/drivers/pciehp"
    services.mkdir(parents=True)
    for name in ("0000:00:01.0:pcie004", "module", "uevent"):
        (services / name).touch()
    devices = scan_host(tmp_path, 1, Features()).devices
    assert [one.hotplug_driver for one in devices.values()] == ["pciehp", None]
    assert scan_device(tmp_path, Address.pci("0000:00:01.0")) in devices.values()


def test_a_simulated_host_shows_it_likewise(tmp_path: Path) -> None:
    build(tmp_path, HOSTS["standard"])
    sets = ResetSets(scan_host(tmp_path, 1, Features(kernel="7.2")))
    slot, bus = (sets.of(Address.parse(short)) for short in ("01:00.1", "04:01.0"))
    assert slot is not None and bus is not None
    assert (slot.kind, [one.short for one in slot.members]) == ("slot", ["01:00.0", "01:00.1"])
    assert (bus.kind, [one.short for one in bus.members]) == ("bus", ["04:01.0", "04:02.0"])
