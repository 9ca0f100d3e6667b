"""The scanner on trees that are whole, odd and broken."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

import pytest

from isod.kernel.overrides import Override
from isod.kernel.scan import scan_device, scan_group, scan_host
from isod.kernel.tree import ShortageError, UnreadableError
from isod.model.address import Address
from isod.model.host import Features, HostSnapshot, ReservedRegion
from tests.unit.shortage import room_for

from .fake_sysfs import add_device, add_group, link

_FIRST = Address.pci("0000:01:00.0")


def scan(root: Path) -> HostSnapshot:
    return scan_host(root, 1, Features())


def test_an_empty_host(tmp_path: Path) -> None:
    assert scan(tmp_path) == HostSnapshot(sequence=1)


def test_every_field(tmp_path: Path) -> None:
    group = add_group(tmp_path, 5)
    bridge = add_device(tmp_path, "0000:00:01.0", driver="pcieport", secondary_bus_number="1")
    (bridge / "class").write_text("0x060400\n")
    (bridge / "config").write_bytes(bytes(14) + b"\x81" + bytes(49))
    device = add_device(
        tmp_path,
        _FIRST.name,
        above="0000:00:01.0",
        group=group,
        driver="vfio-pci",
        driver_override="vfio-pci",
        numa_node="1",
        enable="2",
        sriov_totalvfs="8",
        boot_vga="1",
    )
    for index in range(2):
        add_device(tmp_path, f"0000:01:10.{index}", above="0000:00:01.0")
        link(device / f"virtfn{index}", device.parent / f"0000:01:10.{index}")
        link(device.parent / f"0000:01:10.{index}" / "physfn", device)
    (device / "vfio-dev/vfio3").mkdir(parents=True)
    (device / "vfio-dev/vfio3/dev").write_text("240:3\n")
    slot = tmp_path / "sys/bus/pci/slots/7-1"
    slot.mkdir(parents=True)
    (slot / "address").write_text("0000:01:00\n")

    host = scan(tmp_path)
    found = host.devices[_FIRST]
    assert found.generation == device.stat().st_ino
    assert (found.vendor, found.product, found.device_class) == ("8086", "10d3", "020000")
    assert (found.subsystem_vendor, found.subsystem_product) == ("8086", "0000")
    assert (found.driver, found.driver_override) == ("vfio-pci", "vfio-pci")
    assert (found.group, found.numa_node, found.enabled) == (5, 1, 2)
    assert found.reset_methods == ("pm", "bus")
    assert found.bridges == (Address.pci("0000:00:01.0"),)
    assert (found.slot, found.cdev, found.boot_display) == ("7-1", "vfio3", True)
    assert found.virtual_functions_max == 8
    virtual = Address.pci("0000:01:10.1")
    assert found.virtual_functions == (Address.pci("0000:01:10.0"), virtual)
    assert host.devices[virtual].physical_function == _FIRST
    above = host.devices[Address.pci("0000:00:01.0")]
    assert above.is_bridge
    assert (above.header_type, above.secondary_bus) == (0x81, "0000:01")
    assert above.numa_node is None


@pytest.mark.parametrize(
    ("attribute", "content"),
    [
        ("vendor", b""),
        ("vendor", b"0x80g6\n"),
        ("device", b"0x10d3ff\n"),
        ("class", b"\xff\xfe\n"),
        ("class", b"0x0200\n"),
        ("driver_override", b"\xff\xfe\n"),
    ],
)
def test_a_device_with_unreadable_essentials_is_left_out(
    tmp_path: Path, attribute: str, content: bytes
) -> None:
    device = add_device(tmp_path, _FIRST.name)
    add_device(tmp_path, "0000:02:00.0")
    (device / attribute).write_bytes(content)
    host = scan(tmp_path)
    assert set(host.devices) == {Address.pci("0000:02:00.0")}
    assert set(host.unread) == {_FIRST}
    with pytest.raises(UnreadableError):
        scan_device(tmp_path, _FIRST)


def test_a_device_that_goes_while_it_is_read_is_gone(tmp_path: Path) -> None:
    """Its attributes go one by one: what is left of them is not what cannot be read."""
    device = add_device(tmp_path, _FIRST.name)

    def goes_away(names: Iterable[str]) -> dict[str, Override]:
        (device / "class").unlink()
        (tmp_path / "sys/bus/pci/devices" / _FIRST.name).unlink()
        return {name: Override() for name in names}

    assert scan_device(tmp_path, _FIRST, goes_away) is None


@pytest.mark.parametrize("room", range(4))
def test_out_of_descriptors_nothing_is_taken_for_gone(tmp_path: Path, room: int) -> None:
    """However far a look comes until none is left: it tells all, or it raises."""
    group = add_group(tmp_path, 3)
    device = add_device(tmp_path, _FIRST.name, group=group)
    (device / "nvme/nvme0").mkdir(parents=True)
    (device / "nvme/nvme0/serial").write_text("S4EV1\n")
    (device / "vfio-dev/vfio3").mkdir(parents=True)
    (device / "vfio-dev/vfio3/dev").write_text("240:3\n")
    whole = scan(tmp_path)
    for look, right in (
        (lambda: scan(tmp_path), whole),
        (lambda: scan_device(tmp_path, _FIRST), whole.devices[_FIRST]),
        (lambda: scan_group(tmp_path, 3), whole.groups[3]),
    ):
        found: object = None
        with room_for(room):
            try:
                found = look()
            except ShortageError:
                found = ShortageError
        assert found in (right, ShortageError)
        if room == 0:
            assert found is ShortageError


def test_without_a_helper_process_devices_are_there_and_unsettled(tmp_path: Path) -> None:
    """What is in driver_override cannot be read then; all else can."""
    add_device(tmp_path, _FIRST.name, driver="e1000e")

    def nobody(names: Iterable[str]) -> dict[str, Override]:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    host = scan_host(tmp_path, 1, Features(), nobody)
    assert host.devices[_FIRST].driver == "e1000e"
    assert host.devices[_FIRST].unsettled
    assert set(host.unread) == {_FIRST}
    with pytest.raises(OSError, match="unavailable"):
        scan_device(tmp_path, _FIRST, nobody)


def test_a_device_whose_override_alone_cannot_be_read_is_not_gone(tmp_path: Path) -> None:
    add_device(tmp_path, _FIRST.name)
    assert set(scan_host(tmp_path, 1, Features(), lambda names: {}).unread) == {_FIRST}
    with pytest.raises(UnreadableError):
        scan_device(tmp_path, _FIRST, lambda names: {})


def test_a_group_link_to_nowhere_numbered_leaves_the_device_out(tmp_path: Path) -> None:
    device = add_device(tmp_path, _FIRST.name)
    (device / "iommu_group").symlink_to("../somewhere")
    assert scan(tmp_path).devices == {}


@pytest.mark.parametrize("attribute", ["numa_node", "enable", "sriov_totalvfs", "revision"])
def test_odd_trifles_are_unknown(tmp_path: Path, attribute: str) -> None:
    device = add_device(tmp_path, _FIRST.name)
    (device / attribute).write_bytes(b"\xff 9999999999999999999999\n")
    found = scan(tmp_path).devices[_FIRST]
    assert found.numa_node is None
    assert found.virtual_functions_max == 0
    if attribute == "enable":
        assert found.enabled is None


def test_attributes_are_never_followed_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0x1234\n")
    device = add_device(tmp_path, _FIRST.name)
    (device / "vendor").unlink()
    link(device / "vendor", tmp_path / "secret")
    assert scan(tmp_path).devices == {}


def test_names_that_are_no_devices_are_passed_over(tmp_path: Path) -> None:
    add_device(tmp_path, "0000:01:00.0:extra")
    add_device(tmp_path, "not-a-device")
    assert scan(tmp_path).devices == {}


def test_regions_of_a_group(tmp_path: Path) -> None:
    regions = "0x00000000000e0000 0x00000000000fffff direct\n0xfee00000 0xfeefffff msi\n"
    add_group(tmp_path, 3, regions + "0x1 0x2 direct-relaxable\n")
    group = scan_group(tmp_path, 3)
    assert group is not None
    assert group.firmware_mappings == (ReservedRegion(0xE0000, 0xFFFFF, "direct"),)
    assert [region.kind for region in group.reserved_regions][1:] == ["msi", "direct-relaxable"]


def test_a_group_whose_regions_make_no_sense_is_left_out(tmp_path: Path) -> None:
    group = add_group(tmp_path, 3, "0x1 what\n")
    add_device(tmp_path, _FIRST.name, group=group)
    host = scan(tmp_path)
    assert host.groups == {}
    assert set(host.unread) == {3}
    assert host.devices[_FIRST].group == 3
    assert host.group_of(_FIRST) is None


def test_members_on_other_buses_are_never_lost(tmp_path: Path) -> None:
    group = add_group(tmp_path, 3)
    place = tmp_path / "sys/devices/platform/widget.0"
    place.mkdir(parents=True)
    bus = tmp_path / "sys/bus/platform"
    (bus / "devices").mkdir(parents=True)
    link(place / "subsystem", bus)
    link(place / "driver", bus)
    link(bus / "devices/widget.0", place)
    link(group / "devices/widget.0", place)
    host = scan(tmp_path)
    widget = Address("platform", "widget.0")
    assert host.groups[3].members == (widget,)
    assert host.devices[widget].driver == "platform"
    assert scan_device(tmp_path, widget) == host.devices[widget]


def test_a_group_without_an_iommu_names_its_node(tmp_path: Path) -> None:
    group = add_group(tmp_path, 9, kind="unknown")
    (group / "name").write_text("vfio-noiommu\n")
    add_device(tmp_path, _FIRST.name, group=group)
    assert scan(tmp_path).devices[_FIRST].noiommu_node == "noiommu-9"
    found = scan_device(tmp_path, _FIRST)
    assert found is not None
    assert found.noiommu_node == "noiommu-9"


def test_a_serial_comes_from_the_controller(tmp_path: Path) -> None:
    device = add_device(tmp_path, _FIRST.name, serial_number="00-11-22-33")
    assert scan(tmp_path).devices[_FIRST].serial == "00-11-22-33"
    (device / "nvme/nvme0").mkdir(parents=True)
    (device / "nvme/nvme0/serial").write_text("S4EV1   \n")
    assert scan(tmp_path).devices[_FIRST].serial == "S4EV1"


def test_a_cdev_needs_a_device_number(tmp_path: Path) -> None:
    device = add_device(tmp_path, _FIRST.name)
    (device / "vfio-dev/vfio0").mkdir(parents=True)
    assert scan(tmp_path).devices[_FIRST].cdev is None


_UUID = "c9a3b6d2-5d0e-4c53-9a55-6d1f0c8f2b11"


def _add_mdev(root: Path, parent: Path, group: Path | None) -> Path:
    made = parent / _UUID
    made.mkdir(parents=True)
    (root / "sys/bus/mdev/devices").mkdir(parents=True, exist_ok=True)
    link(root / f"sys/bus/mdev/devices/{_UUID}", made)
    link(made / "subsystem", root / "sys/bus/mdev")
    if group is not None:
        link(made / "iommu_group", group)
        (group / "devices").mkdir(exist_ok=True)
        link(group / "devices" / _UUID, made)
    return made


def test_an_mdev_knows_the_device_that_it_was_made_on(tmp_path: Path) -> None:
    made = _add_mdev(tmp_path, add_device(tmp_path, _FIRST.name), add_group(tmp_path, 7))
    address = Address("mdev", _UUID)
    found = scan(tmp_path).devices[address]
    assert (found.parent, found.group) == (_FIRST, 7)
    assert found.generation == made.stat().st_ino
    assert scan_device(tmp_path, address) == found


def test_a_parent_that_is_on_no_bus_is_named_by_its_class(tmp_path: Path) -> None:
    parent = tmp_path / "sys/devices/virtual/mtty/mtty"
    _add_mdev(tmp_path, parent, None)
    (tmp_path / "sys/class/mtty").mkdir(parents=True)
    link(parent / "subsystem", tmp_path / "sys/class/mtty")
    found = scan(tmp_path).devices[Address("mdev", _UUID)]
    assert (found.parent, found.group) == (Address("mtty", "mtty"), None)
