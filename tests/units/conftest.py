"""One systemd for the tests of a guest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware

from .administrator import Administrator
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


@pytest.fixture(scope="package")
def administrator(init: Init) -> Iterator[Administrator]:
    root = Administrator(init)
    yield root
    root.close()


@pytest.fixture
def rules(administrator: Administrator) -> Iterator[Callable[[str], None]]:
    """Has isod use another policy until the test is over."""
    yield administrator.use_policy
    administrator.connect()
    administrator.use_policy(RULES)
