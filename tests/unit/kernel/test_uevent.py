"""Uevents: what they mean, and what is none."""

from __future__ import annotations

import os
import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.kernel.linux.uevent import UeventSocket, change_of, parse_uevent
from isod.model.address import Address
from isod.model.host import HostChange


def event(action: str, path: str, subsystem: str, **variables: str) -> bytes:
    fields = {"ACTION": action, "DEVPATH": path, "SUBSYSTEM": subsystem} | variables
    lines = [f"{action}@{path}", *(f"{key}={value}" for key, value in fields.items())]
    return "\0".join(lines).encode() + b"\0"


def change(data: bytes) -> HostChange:
    parsed = parse_uevent(data)
    assert parsed is not None
    return change_of(parsed)


_DEVICE = "/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
_ADDRESS = Address.pci("0000:01:00.0")


@pytest.mark.parametrize("action", ["add", "remove", "bind", "unbind", "change"])
def test_events_of_a_device(action: str) -> None:
    assert change(event(action, _DEVICE, "pci")).addresses == {_ADDRESS}
    cdev = event(action, f"{_DEVICE}/vfio-dev/vfio3", "vfio-dev", DEVNAME="vfio/devices/vfio3")
    assert change(cdev).addresses == {_ADDRESS}


def test_events_of_other_buses() -> None:
    uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
    mdev = event("add", f"/devices/virtual/mtty/mtty/{uuid}", "mdev")
    assert change(mdev).addresses == {Address("mdev", uuid)}
    vdpa = event("bind", "/devices/vdpa0", "vdpa")
    assert change(vdpa).addresses == {Address("vdpa", "vdpa0")}


def test_events_that_change_everything() -> None:
    assert change(event("add", "/devices/virtual/iommu/dmar0", "iommu")).rescan
    assert change(event("move", _DEVICE, "pci")).rescan


def test_events_that_change_nothing() -> None:
    assert change(event("add", "/devices/virtual/vfio/12", "vfio")) == HostChange()
    assert change(event("add", f"{_DEVICE}/net/eth0", "net")) == HostChange()
    assert change(event("add", "/bus/pci/drivers/x", "drivers")) == HostChange()
    assert change(event("add", "/devices/pci0000:00", "pci")) == HostChange()


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"@", b"add@", b"add", b"libudev\0\xfe\xed", b"add@\xff\0", b"a b@/x\0", b"@/x\0"],
)
def test_malformed_events_are_none(data: bytes) -> None:
    assert parse_uevent(data) is None


@given(st.binary(max_size=400))
def test_anything_at_all_is_survived(data: bytes) -> None:
    parsed = parse_uevent(data)
    if parsed is not None:
        change_of(parsed)


def test_another_sender_is_not_heard() -> None:
    watched = UeventSocket()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as forger:
        try:
            forger.sendto(event("add", _DEVICE, "pci"), (_port_of(watched), 0))
        except PermissionError:
            pytest.skip("only root may send to another's netlink socket")
    assert select.select([watched], [], [], 0)[0]
    assert watched.read().addresses == frozenset()
    watched.close()


def _port_of(watched: UeventSocket) -> int:
    with socket.socket(fileno=os.dup(watched.fileno())) as copy:
        name = copy.getsockname()
    assert isinstance(name, tuple)
    return int(name[0])
