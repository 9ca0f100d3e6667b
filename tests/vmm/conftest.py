"""One daemon for all QEMUs of a guest, and a folder that nobody can enter, too: pytest's own are
closed to everyone but root."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware

from .broker import NOBODY, Broker, running_broker
from .virtual_machine import copied_kernel


@pytest.fixture(scope="package")
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="isod-vmm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="package")
def nested_kernel(open_folder: Path) -> Path:
    return copied_kernel(open_folder)


@pytest.fixture(scope="package")
def broker(open_folder: Path) -> Iterator[Broker]:
    with running_broker(open_folder, _policy(Hardware().nvme)) as found:
        yield found


def _policy(address: str) -> str:
    return f"""
version = 1
[[rule]]
name = "vm"
effect = "allow"
who = [{{ uid = [{NOBODY}] }}]
what = [{{ address = "pci:{address}" }}]
[rule.terms]
hand_over = ["iommufd", "nodes"]
memlock = "2GiB"
"""
