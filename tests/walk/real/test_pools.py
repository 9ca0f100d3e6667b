"""A pool on a real kernel: bound ahead, leased two at a time, and put back where it came from."""

from __future__ import annotations

import pytest

from isod.client.blocking import Client
from tests.lab.hardware import Hardware
from tests.walk.conftest import Start
from tests.walk.machine import Binding
from tests.walk.stage import Stage

from .conftest import rules

pytestmark = pytest.mark.lab(kernels=("6.12", "7.2"), topology="standard", limit=400)

WAITS = Binding("vfio-pci", "vfio-pci")


def members() -> list[str]:
    """The NVMe, and the first NIC below the switch: each alone in its group."""
    hardware = Hardware()
    ports = {f.address for f in hardware.functions() if f.identity == "104c:8233"}
    nics = [f.address for f in hardware.functions() if f.parent in ports]
    return sorted([hardware.nvme, nics[0]])


def pool(names: list[str]) -> str:
    devices = ", ".join(f'{{ address = "pci:{name}" }}' for name in names)
    return f"""
[[pool]]
name = "lab"
devices = [{devices}]
bind = "ahead"
take_from = ["nvme", "e1000e"]
"""


def load(stage: Stage, policy: str) -> None:
    stage.write_policy(policy)
    with Client.connect(stage.socket.parent / "admin" / "admin.sock", timeout=90) as admin:
        admin.call("admin.reload", {})


def test_a_pool_waits_on_vfio_pci_is_leased_and_goes_back(stage: Stage, borrower: Start) -> None:
    names = members()

    def all_wait() -> bool:
        now = stage.picture()
        return all(now[name] == WAITS for name in names)

    load(stage, rules() + pool(names))
    stage.daemon.until(all_wait, "not bound ahead")
    assert set(stage.changes()) == set(names)
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=["pool:lab:2"])
    asked = [one["address"] for one in lease["devices"] if one["why"] == "requested"]
    assert sorted(asked) == [f"pci:{name}" for name in names]
    client.do("close")
    stage.daemon.until(lambda: stage.lease_count() == 0, "the lease stays")
    assert all_wait()
    stage.kill()
    stage.start()
    assert all_wait()
    load(stage, rules())
    stage.daemon.until(lambda: not stage.changes(), "something is not as it was")
