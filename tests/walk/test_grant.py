"""Acquire and release: what a client gets, and that all is as before when it is done."""

from __future__ import annotations

import os

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason

from .borrowers import UID
from .conftest import Start
from .machine import Binding
from .policy import MEMLOCK
from .stage import Stage

VFIO = Binding("vfio-pci", "vfio-pci")


def test_one_of_two_leases_the_group_and_parks_the_sibling(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    lease = client.do("acquire", devices=[pair], hand_over="iommufd")
    assert lease["state"] == "leased"
    assert lease["rule"] == "walk"
    assert lease["owner"]["uid"] == UID
    assert lease["owner"]["pid"] == client.pid
    assert {one["address"]: (one["why"], one["parked"]) for one in lease["devices"]} == {
        f"pci:{pair}": ("requested", False),
        f"pci:{sibling}": ("sibling", True),
    }
    assert stage.picture()[pair] == stage.picture()[sibling] == VFIO
    states = {device.address.name: device.state for device in stage.control.devices()}
    assert (states[pair], states[sibling]) == ("leased", "parked")
    assert client.do("release") == "draining"
    stage.until_restored()


def test_the_client_has_what_was_declared_and_nothing_else(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    before = client.do("files")
    lease = client.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
    assert [one["role"] for one in lease["roles"]] == ["hold", "iommufd", "device"]
    assert lease["roles"][2]["state"] == "unbound"
    assert len(client.do("files")) == len(before) + 3
    client.do("close")
    assert client.do("files") == before


@pytest.mark.parametrize("way", ["release", "close", "exit", "kill"])
def test_every_way_out_restores_the_drivers(stage: Stage, borrower: Start, way: str) -> None:
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
    client.do("use", what="bind")
    client.do("use", what="attach")
    match way:
        case "exit":
            client.close()
        case "kill":
            client.kill()
        case _:
            client.do(way)
    if way in {"release", "close"}:
        client.do("disconnect")
    stage.until_quiet()


def test_group_comes_ready(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    pair = stage.machine.device("pair")
    lease = client.do("acquire", devices=[pair], hand_over="group")
    assert [one["role"] for one in lease["roles"]] == ["hold", "container", "group", "device"]
    assert client.do("use", what="viable")


def test_group_comes_raw(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    pair = stage.machine.device("pair")
    lease = client.do("acquire", devices=[pair], hand_over="group", container="raw")
    assert [one["role"] for one in lease["roles"]] == ["hold", "container", "group"]
    assert client.do("use", what="viable")


def test_nodes_are_opened_by_path_while_the_lease_lasts(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    lease = client.do("acquire", devices=[stage.machine.device("pair")], hand_over="nodes")
    assert [one["role"] for one in lease["roles"]] == ["hold"]
    client.do("use", what="open_by_path")
    client.do("close_taken")
    assert client.do("release") == "draining"
    stage.until_restored()


@pytest.mark.skipif(os.geteuid() != 0, reason="our own uid may open the simulated host's nodes")
def test_rights_on_nodes_end_at_once(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    client.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd", name="one")
    lease = client.do("acquire", devices=[stage.machine.device("pair")], hand_over="nodes")
    client.do("use", what="open_by_path")
    assert client.do("release_only") == "draining"
    # The open file keeps the lease draining; opening another time is over.
    stage.daemon.wait_for("lease.in_use", lease["id"])
    with pytest.raises(PermissionError):
        client.do("use", what="open_by_path")
    client.do("close_taken")


def test_memlock_is_raised_for_the_lease_and_lowered_after_it(
    stage: Stage, borrower: Start
) -> None:
    client = borrower()
    client.connect(stage)
    record = stage.machine.root / "limits" / str(client.pid)
    client.do("acquire", devices=[stage.machine.device("single")])
    assert f'"soft": {MEMLOCK}' in record.read_text()
    former = client.do("memlock").split()[3]
    client.do("release")
    stage.daemon.until(lambda: f'"soft": {former}' in record.read_text(), "not lowered")


def test_bridge_driver_is_taken_and_comes_back(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    asked = stage.machine.device("behind_bridge")
    lease = client.do("acquire", devices=[asked], hand_over="group")
    assert [one["why"] for one in lease["devices"]].count("sibling") == 2
    assert [one["parked"] for one in lease["devices"]].count(True) == 1
    changed = {name for name, now in stage.picture().items() if now != stage.before[name]}
    assert len(changed) == 3


def test_whole_groups_or_nothing(stage: Stage, borrower: Start) -> None:
    first, second = borrower(), borrower()
    first.connect(stage)
    second.connect(stage)
    single, pair = stage.machine.device("single"), stage.machine.device("pair")
    first.do("acquire", devices=[stage.machine.device("sibling")])
    before = stage.picture()
    with pytest.raises(Refused) as refused:
        second.do("acquire", devices=[single, pair])
    assert refused.value.reason is Reason.group_busy
    assert stage.picture() == before, "part of a refused request was taken"
    lease = second.do("acquire", devices=[single])
    assert [one["address"] for one in lease["devices"]] == [f"pci:{single}"]
