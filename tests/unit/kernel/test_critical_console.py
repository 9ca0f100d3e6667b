"""The boot display, the console and the chipset, on a directory that looks like a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fake_host import FakeHost
from .fake_sysfs import link


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def display(host: FakeHost, driver: str | None) -> Path:
    return host.card("01:00.0", driver=driver, boot_vga="1", code="0x030000")


@pytest.mark.parametrize("driver", ["i915", None])
def test_the_boot_display_with_a_driver_and_without(host: FakeHost, driver: str | None) -> None:
    display(host, driver)
    assert host.uses("01:00.0") == ["is the boot display"]


def test_a_boot_display_on_vfio_shows_nothing_of_the_host(host: FakeHost) -> None:
    display(host, "vfio-pci")
    assert host.uses("01:00.0") == []


def test_another_display(host: FakeHost) -> None:
    host.card("01:00.0", driver="nouveau", boot_vga="0", code="0x030000")
    assert host.uses("01:00.0") == []


def test_the_display_that_the_console_is_drawn_on(host: FakeHost) -> None:
    card = host.card("02:00.0", driver="ast", boot_vga="0", code="0x030000")
    (card / "graphics/fb0").mkdir(parents=True)
    (host.root / "sys/class/graphics").mkdir(parents=True)
    link(host.root / "sys/class/graphics/fb0", card / "graphics/fb0")
    host.write("sys/class/tty/console/active", "tty0 ttyS0\n")
    link_tty(host, "ttyS0", host.root / "sys/devices/platform/serial8250/tty/ttyS0")
    assert host.uses("02:00.0") == ["shows the console (tty0 on fb0)"]


def link_tty(host: FakeHost, name: str, place: Path) -> None:
    place.mkdir(parents=True)
    (host.root / "sys/class/tty").mkdir(parents=True, exist_ok=True)
    link(host.root / "sys/class/tty" / name, place)


def test_a_serial_card_of_the_console(host: FakeHost) -> None:
    card = host.card("03:00.0", driver="serial", code="0x070002")
    host.card("04:00.0", driver="serial", code="0x070002")
    link_tty(host, "ttyS4", card / "0000:03:00.0:0/0000:03:00.0:0.0/tty/ttyS4")
    host.write("sys/class/tty/console/active", "ttyS4\n")
    assert host.uses("03:00.0") == ["carries the console (ttyS4)"]
    assert host.uses("04:00.0") == []


def test_a_console_that_is_not_found_makes_its_class_suspect(host: FakeHost) -> None:
    host.card("03:00.0", driver="virtio-pci", code="0x078000")
    host.card("04:00.0", driver=None, code="0x078000")
    link_tty(host, "hvc0", host.root / "sys/devices/virtual/tty/hvc0")
    host.write("sys/class/tty/console/active", "hvc0\n")
    assert host.uses("03:00.0") == ["may carry the console (hvc0)"]
    assert host.uses("04:00.0") == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("0x060000", "is a host bridge of the chipset"),
        ("0x060100", "is an ISA bridge of the chipset"),
        ("0x0c0500", "is an SMBus controller of the chipset"),
        ("0x050000", "is memory of the chipset"),
        ("0x080600", "is an IOMMU of the chipset"),
    ],
)
def test_chipset_functions_with_and_without_a_driver(host: FakeHost, code: str, words: str) -> None:
    host.card("00:1f.0", driver=None, code=code)
    host.card("00:1f.4", driver="some", code=code)
    host.card("00:1f.5", driver="vfio-pci", code=code)
    assert host.uses("00:1f.0") == host.uses("00:1f.4") == [words]
    assert host.uses("00:1f.5") == []


@pytest.mark.parametrize("code", ["0x060400", "0x080501", "0x0c0330", "0x040300", "0x010802"])
def test_what_is_no_chipset_function(host: FakeHost, code: str) -> None:
    host.card("00:1f.0", driver="some", code=code)
    assert host.uses("00:1f.0") == []


def test_a_folder_that_cannot_be_read_refuses_and_does_not_crash(host: FakeHost) -> None:
    host.card("03:00.0", driver="serial", code="0x070002")
    (host.root / "sys/class/tty/console/active").mkdir(parents=True)
    (use,) = host.uses("03:00.0")
    assert use.startswith("may be the console (")
