"""One systemd for the tests of a guest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware

from .client import NOBODY
from .init import Init, started

RULES = f"""
version = 1
[[rule]]
name = "lab"
effect = "allow"
who = [{{ uid = [{NOBODY}] }}]
what = "anything"
[rule.terms]
hand_over = ["iommufd", "nodes"]
take_from = ["nvme", "e1000e", "e1000", "igb", "shpchp"]
memlock = "2GiB"
"""


@pytest.fixture(scope="package")
def init() -> Iterator[Init]:
    with tempfile.TemporaryDirectory(prefix="isod-units-", dir="/run") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with started(folder, RULES) as found:
            yield found
            print(found.log())


@pytest.fixture
def nvme(hardware: Hardware) -> str:
    return hardware.nvme
