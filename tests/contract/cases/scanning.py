"""What a snapshot shows."""

from __future__ import annotations

from isod.model.address import Address
from tests.contract.acts import again, group_name, take_group
from tests.contract.host_under_test import HostUnderTest


class ScanningCases:
    def test_a_singleton_is_alone_in_its_group(self, host: HostUnderTest) -> None:
        device = host.device("single")
        snapshot = host.kernel.snapshot(7)
        group = snapshot.group_of(device.address)
        assert snapshot.sequence == 7
        assert group is not None
        assert group.members == (device.address,)
        assert snapshot.members(group.number) == (snapshot.devices[device.address],)
        assert device.driver is not None
        assert device.driver_override is None
        assert device.resets_alone
        assert not device.on_vfio
        assert not device.is_bridge
        assert not device.unsettled
        assert device.enabled == 1
        assert len(device.vendor) == len(device.product) == 4
        assert len(device.device_class) == 6
        assert device.modalias.startswith("pci:v")

    def test_two_functions_share_a_group(self, host: HostUnderTest) -> None:
        device = host.device("pair")
        snapshot = host.kernel.snapshot(1)
        group = snapshot.group_of(device.address)
        assert group is not None
        first, second = group.members
        assert first == device.address
        assert first.pci_slot == second.pci_slot
        assert list(group.members) == sorted(group.members)
        assert snapshot.devices[first].bridges == snapshot.devices[second].bridges != ()

    def test_a_bridge_shares_the_group_of_what_is_below_it(self, host: HostUnderTest) -> None:
        device = host.device("behind_bridge")
        snapshot = host.kernel.snapshot(1)
        bridge = snapshot.devices[device.bridges[0]]
        group = snapshot.group_of(device.address)
        assert group is not None
        assert bridge.address in group.members
        assert len(group.members) == 3
        assert bridge.is_bridge
        assert bridge.secondary_bus == device.address.pci_bus
        assert snapshot.devices[bridge.bridges[0]].is_bridge
        assert not device.resets_alone

    def test_a_device_without_a_group(self, host: HostUnderTest) -> None:
        device = host.device("bare")
        assert device.group is None
        assert host.kernel.snapshot(1).group_of(device.address) is None

    def test_a_group_has_its_reserved_regions(self, host: HostUnderTest) -> None:
        device = host.device("single")
        assert device.group is not None
        group = host.kernel.look_group(device.group)
        assert group is not None
        assert group.kind in {"DMA", "DMA-FQ", "identity"}
        assert group.firmware_mappings == ()
        regions = [region for region in group.reserved_regions if region.kind == "msi"]
        assert all(region.start < region.end for region in regions)
        assert regions

    def test_looking_again_shows_the_same(self, host: HostUnderTest) -> None:
        snapshot = host.kernel.snapshot(1)
        assert len(snapshot.devices) > 5
        for address, device in snapshot.devices.items():
            assert host.kernel.look(address) == device
        for number, group in snapshot.groups.items():
            assert host.kernel.look_group(number) == group
        assert host.kernel.snapshot(1) == snapshot

    def test_what_is_not_there_is_none(self, host: HostUnderTest) -> None:
        assert host.kernel.look(Address.pci("0000:ff:1f.7")) is None
        assert host.kernel.look_group(999999) is None

    def test_a_cdev_has_a_name_where_there_are_any(self, host: HostUnderTest) -> None:
        features = host.kernel.snapshot(1).features
        device = host.device("single")
        take_group(host, device)
        found = again(host, device.address)
        assert found.on_vfio
        assert found.enabled == 0
        assert found.generation == device.generation
        assert group_name(host, found) == group_name(host, device)
        assert (found.cdev is not None) == features.cdev
        assert features.cdev == (host.lacks("iommufd") is None)
        assert features.iommufd == (host.lacks("iommufd") is None)
        assert features.container == (host.lacks("container") is None)
        assert features.kernel
