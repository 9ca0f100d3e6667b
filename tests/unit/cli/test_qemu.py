"""QEMU's own arguments."""

from __future__ import annotations

import json

import pytest

from isod.cli.handed import HandedFiles
from isod.cli.qemu import QemuError, device_id, qemu_arguments, qemu_hand_over
from isod.model.address import Address
from isod.model.reply import FileRole
from isod.model.step import HandOver

from .replies import address

NIC, DISK = address("01:00.0"), address("0000:02:00.0")
MDEV = address("mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")
VDPA = address("vdpa:vdpa0")
OFFERED: tuple[HandOver, ...] = ("iommufd", "group", "nodes")
FILES = HandedFiles(hold=3, iommufd=4, devices={NIC: 5, DISK: 6})


def test_iommufd_hands_over_numbers() -> None:
    assert qemu_arguments([NIC, DISK], "iommufd", FILES, []) == [
        "-object",
        "iommufd,id=isod0,fd=4",
        "-device",
        "vfio-pci,id=isod-0000-01-00.0,fd=5,iommufd=isod0",
        "-device",
        "vfio-pci,id=isod-0000-02-00.0,fd=6,iommufd=isod0",
    ]


def test_nodes_are_named_by_host() -> None:
    assert qemu_arguments([NIC], "nodes", HandedFiles(hold=3), ["rombar=0", "x-a=on"]) == [
        "-device",
        "vfio-pci,id=isod-0000-01-00.0,host=0000:01:00.0,rombar=0,x-a=on",
    ]


def test_a_mediated_device_is_named_by_its_sysfs_directory() -> None:
    (_, device) = qemu_arguments([MDEV], "nodes", HandedFiles(hold=3), [])
    assert f"sysfsdev=/sys/bus/mdev/devices/{MDEV.name}" in device


def test_ids_are_what_qemu_accepts() -> None:
    for one in (NIC, DISK, MDEV):
        assert device_id(one)[0].isalpha()
        assert set(device_id(one)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._")


@pytest.mark.parametrize(
    ("devices", "wish", "offered", "chosen"),
    [
        ([NIC], None, ("iommufd", "group", "nodes"), "iommufd"),
        ([NIC], None, ("group", "nodes"), "nodes"),
        ([NIC], "nodes", ("iommufd",), "nodes"),
        ([NIC], "iommufd", ("nodes",), "iommufd"),
        ([NIC, MDEV], None, ("iommufd", "nodes"), "nodes"),
    ],
)
def test_the_hand_over_follows_wish_then_offer(
    devices: list[Address], wish: HandOver | None, offered: tuple[HandOver, ...], chosen: str
) -> None:
    assert qemu_hand_over(devices, wish, offered) == chosen


def test_what_qemu_cannot_take_says_what_to_do() -> None:
    with pytest.raises(QemuError, match="use --hand-over iommufd or nodes"):
        qemu_hand_over([NIC], "group", OFFERED)
    with pytest.raises(QemuError, match="use --hand-over nodes"):
        qemu_hand_over([MDEV], "iommufd", OFFERED)
    with pytest.raises(QemuError, match="PCI devices and mdevs only"):
        qemu_hand_over([VDPA], None, OFFERED)


def test_missing_files_are_an_error_rather_than_a_broken_command() -> None:
    with pytest.raises(QemuError, match="without an iommufd"):
        qemu_arguments([NIC], "iommufd", HandedFiles(hold=3), [])
    with pytest.raises(QemuError, match="without a file"):
        qemu_arguments([NIC], "iommufd", HandedFiles(hold=3, iommufd=4), [])


def test_files_are_sorted_by_role() -> None:
    files = HandedFiles.of(
        [
            (FileRole(role="hold"), 9),
            (FileRole(role="container"), 8),
            (FileRole(role="group", group=14), 7),
            (FileRole(role="group", group=12), 6),
            (FileRole(role="device", address=DISK), 5),
            (FileRole(role="device", address=NIC, state="unbound"), 4),
        ]
    )
    assert (files.hold, files.container, files.iommufd) == (9, 8, None)
    assert files.numbers == {4, 5, 6, 7, 8, 9}
    assert json.loads(files.as_json()) == {
        "hold": 9,
        "container": 8,
        "devices": {"pci:0000:02:00.0": 5, "pci:0000:01:00.0": 4},
        "groups": {"14": 7, "12": 6},
    }
