"""Whether a device answers as itself, from the first bytes of its config space."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from isod.kernel.answering import silence
from isod.model.address import Address

NIC = Address.parse("01:00.0")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    place.mkdir(parents=True)
    (place / "vendor").write_text("0x8086\n")
    (place / "device").write_text("0x10d3\n")
    return place


def config(vendor: int, product: int, kind: int = 0x020000) -> bytes:
    return struct.pack("<HHII", vendor, product, 0, kind << 8).ljust(64, b"\0")


def test_its_own_ids_are_an_answer(place: Path, tmp_path: Path) -> None:
    (place / "config").write_bytes(config(0x8086, 0x10D3))
    assert silence(tmp_path, NIC) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff" * 64, "does not answer"),
        (b"", "does not answer"),
        (config(0x8086, 0x1234), "is 8086:1234"),
    ],
)
def test_anything_else_is_not(place: Path, tmp_path: Path, data: bytes, words: str) -> None:
    (place / "config").write_bytes(data)
    assert words in (silence(tmp_path, NIC) or "")


def test_a_virtual_function_has_no_ids_and_answers_by_its_class(
    place: Path, tmp_path: Path
) -> None:
    (place / "physfn").symlink_to("../0000:01:00.7")
    (place / "config").write_bytes(config(0xFFFF, 0xFFFF))
    assert silence(tmp_path, NIC) is None
    (place / "config").write_bytes(b"\xff" * 64)
    assert silence(tmp_path, NIC) is not None


def test_a_device_that_is_gone_does_not_answer(tmp_path: Path) -> None:
    assert silence(tmp_path, NIC) == "01:00.0 is gone"
