"""A small machine as the daemon describes it, after the design's example screens."""

from __future__ import annotations

from typing import Any

from isod.model.address import Address
from isod.model.reply import DeviceInfo, GroupInfo, Holder, LeaseInfo

NOW = 1_700_000_000.0
TWO_HOURS_AGO = NOW - 2 * 3600 - 5
ALICE = Holder(yours=True, lease="L7", user="alice", since=TWO_HOURS_AGO)


def address(text: str) -> Address:
    return Address.parse(text)


NVME = {"class": "010802"}
BRIDGE = {"class": "060400"}


def device(name: str, **changes: Any) -> DeviceInfo:
    facts: dict[str, Any] = {
        "address": name,
        "generation": 100,
        "vendor": "8086",
        "product": "10d3",
        "class": "020000",
        "driver": "e1000e",
        "driver_override": None,
        "group": 12,
        "numa_node": None,
        "reset": "function",
        "reset_methods": ("flr", "pm"),
        "bridges": (),
        "bridge": False,
        "slot": None,
        "physical_function": None,
        "virtual_functions": (),
        "cdev": None,
        "state": "host",
    }
    return DeviceInfo.model_validate(facts | changes)


def group(number: int, *members: str, **changes: Any) -> GroupInfo:
    facts: dict[str, Any] = {
        "number": number,
        "generation": 7,
        "kind": "DMA",
        "devices": tuple(address(member) for member in members),
        "state": "free",
    }
    return GroupInfo.model_validate(facts | changes)


DEVICES = [
    device("02:00.0", vendor="1b36", product="0010", driver="nvme", group=13, **NVME),
    device("01:00.0", driver="vfio-pci", state="leased", holder=ALICE, cdev="vfio3"),
    device("01:00.1", driver="vfio-pci", state="parked", holder=ALICE),
    device("41:00.0", group=None, state="no IOMMU"),
    device("04:01.0", product="100e", driver="e1000", group=14, reset="hot only", numa_node=0),
    device(
        "04:02.0",
        product="100e",
        driver=None,
        group=14,
        reset="hot only",
        numa_node=0,
        state="free",
        bridges=(address("03:00.0"),),
    ),
    device("03:00.0", driver=None, group=14, bridge=True, reset="none", **BRIDGE),
]
GROUPS = [
    group(13, "02:00.0"),
    group(12, "01:00.0", "01:00.1", state="leased", holder=ALICE),
    group(14, "03:00.0", "04:01.0", "04:02.0", blocked_by=(address("04:01.0"),)),
]
BY_ADDRESS = {one.address: one for one in DEVICES}


def lease(**changes: Any) -> LeaseInfo:
    facts: dict[str, Any] = {
        "id": "L7",
        "state": "leased",
        "rule": "alice-vm",
        "hand_over": "iommufd",
        "devices": (
            {
                "address": "pci:0000:01:00.0",
                "generation": 1,
                "group": 12,
                "why": "requested",
                "cdev": "vfio3",
            },
            {
                "address": "pci:0000:01:00.1",
                "generation": 2,
                "group": 12,
                "why": "sibling",
                "parked": True,
            },
        ),
        "owner": {"uid": 1000, "pid": 4121, "user": "alice"},
        "granted_at": TWO_HOURS_AGO,
    }
    return LeaseInfo.model_validate(facts | changes)
