"""A directory that stands for sysfs, in which a FIFO stands for a write that waits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.kernel.helper import Helpers


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    device = tmp_path / "sys/devices/one"
    device.mkdir(parents=True)
    (device / "driver_override").write_text("(null)\n")
    (device / "vendor").write_text("0x8086\n")
    os.mkfifo(device / "unbind")
    return tmp_path / "sys"


@pytest.fixture
def helpers(sysfs: Path) -> Iterator[Helpers]:
    found = Helpers(sysfs)
    yield found
    found.close()
