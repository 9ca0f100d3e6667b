"""Groups and nodes, on every kernel."""

from __future__ import annotations

from typing import Literal

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason
from tests.lab.hardware import Hardware
from tests.walk.borrowers import OTHER_UID
from tests.walk.conftest import Start
from tests.walk.policy import MEMLOCK
from tests.walk.stage import Stage
from tests.walk.test_grant import (
    test_group_comes_raw,
    test_group_comes_ready,
    test_nodes_are_opened_by_path_while_the_lease_lasts,
    test_whole_groups_or_nothing,
)
from tests.walk.test_own_lease import test_fresh_files_of_groups

__all__ = [
    "test_fresh_files_of_groups",
    "test_group_comes_raw",
    "test_group_comes_ready",
    "test_nodes_are_opened_by_path_while_the_lease_lasts",
    "test_whole_groups_or_nothing",
]

pytestmark = pytest.mark.lab(kernels=("6.1", "6.12", "7.2"), topology="standard")


def test_a_group_behind_a_bridge(stage: Stage, borrower: Start, hardware: Hardware) -> None:
    """With the bridge's own driver, where it has one: 6.12 has no slot left for it."""
    client = borrower()
    client.connect(stage)
    bridge = hardware.function(hardware.bridge)
    client.do("acquire", devices=[stage.machine.device("behind_bridge")], hand_over="group")
    changed = {*hardware.bridge_nics, *([bridge.address] if bridge.driver else [])}
    assert stage.changes().keys() == changed


def test_the_client_maps_memory_and_reads_config_space(
    stage: Stage, borrower: Start, hardware: Hardware
) -> None:
    client = borrower()
    client.connect(stage)
    pair = stage.machine.device("pair")
    client.do("acquire", devices=[pair], hand_over="group")
    client.do("use", what="map_memory")
    read = bytes.fromhex(client.do("use", what="config")[pair])
    vendor, device = read[:2][::-1].hex(), read[2:][::-1].hex()
    assert f"{vendor}:{device}" == hardware.function(pair).identity


@pytest.mark.lab(kernels=("6.12", "7.2"), topology="standard")
def test_memlock_is_raised_for_the_lease_and_lowered_after_it(
    stage: Stage, borrower: Start
) -> None:
    client = borrower()
    client.connect(stage)
    former = client.do("memlock")
    lease = client.do("acquire", devices=[stage.machine.device("single")], hand_over="group")
    assert "memlock" not in " ".join(lease["warnings"])
    assert client.do("memlock").split()[3:5] == [str(MEMLOCK)] * 2
    client.do("use", what="map_much_memory")
    client.do("release")
    stage.daemon.until(lambda: client.do("memlock") == former, "not lowered")


@pytest.mark.lab(kernels=("6.1",), topology="standard")
def test_memlock_is_left_alone_where_a_peer_cannot_be_named_safely(
    stage: Stage, borrower: Start
) -> None:
    """6.1 gives no pidfd of the peer. The client is told."""
    client = borrower()
    client.connect(stage)
    former = client.do("memlock")
    lease = client.do("acquire", devices=[stage.machine.device("single")], hand_over="group")
    assert "memlock" in " ".join(lease["warnings"])
    assert client.do("memlock") == former
    with pytest.raises(OSError, match="in the client"):
        client.do("use", what="map_much_memory")


def test_rights_on_a_node_are_taken_back_while_it_is_open(stage: Stage, borrower: Start) -> None:
    """The open file keeps the lease draining; to open it another time is over."""
    client, other = borrower(), borrower(uid=OTHER_UID)
    client.connect(stage)
    single = stage.machine.device("single")
    lease = client.do("acquire", devices=[single], hand_over="nodes")
    client.do("use", what="open_by_path")
    assert client.do("release_only") == "draining"
    stage.daemon.wait_for("lease.in_use", lease["id"])
    with pytest.raises(PermissionError):
        client.do("use", what="open_by_path")
    other.connect(stage)
    with pytest.raises(Refused) as refused:
        other.do("acquire", devices=[single], hand_over="nodes")
    assert refused.value.reason is Reason.group_busy
    client.do("close_taken")
    client.do("close")
    stage.until_restored()
    assert other.do("acquire", devices=[single], hand_over="nodes")["state"] == "leased"


@pytest.mark.parametrize("hand_over", ["group", "nodes"])
@pytest.mark.parametrize("way", ["exit", "kill"])
def test_every_end_of_a_client_restores_the_drivers(
    stage: Stage, borrower: Start, hand_over: Literal["group", "nodes"], way: str
) -> None:
    client = borrower()
    client.connect(stage)
    pair = stage.machine.device("pair")
    client.do("acquire", devices=[pair], hand_over=hand_over)
    if hand_over == "nodes":
        client.do("use", what="open_by_path")
    else:
        client.do("use", what="map_memory")
    assert stage.picture()[pair].driver == "vfio-pci"
    client.kill() if way == "kill" else client.close()
    stage.until_quiet()
