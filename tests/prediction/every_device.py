"""What there is to compare on this machine: every device, with the set that it is in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.lab.hardware import Function as Seen
from tests.lab.hardware import Hardware
from tests.prediction import machine
from tests.prediction.cases import VFIO, Function
from tests.prediction.comparison import Comparison

# What of the machine's own the guest can do without: disk controller, SMBus, ISA and host bridges.
_SPARE = frozenset({"0106", "0c05", "0601", "0600"})
_NATIVE = {"0200": "igb", "0108": "nvme"}


def compare_all(hardware: Hardware, comparison: Comparison) -> None:
    """Every device below a port, what can be spared on the root bus, and what has no group."""
    seen = [one for one in hardware.functions() if one.group is not None]
    for one in seen:
        if not endpoint(one):
            machine.unbind_bridge(one.address)
    for place in sorted({one.path.resolve().parent for one in seen if one.parent is not None}):
        below = [one for one in seen if place in one.path.resolve().parents]
        callers = [
            one.address for one in below if one.path.resolve().parent == place and endpoint(one)
        ]
        free_groups(seen, below)
        comparison.compare(
            [function(one) for one in below],
            callers,
            cdevs=machine.with_cdevs(),
            stub=machine.with_stub(),
        )
    on_root_bus = [one for one in seen if one.parent is None and one.kind in _SPARE]
    for one in on_root_bus:
        machine.put_on(one.address, None)
    for one in on_root_bus:
        comparison.compare([function(one)], [one.address], cdevs=machine.with_cdevs(), stub=False)
    without_group = [one for one in hardware.functions() if one.group is None and endpoint(one)]
    if machine.allow_noiommu():
        for one in without_group:
            machine.put_on(one.address, VFIO)
            group = machine.group_of(one.address)
            members = [Function(one.address, group, noiommu=True)]
            comparison.compare(members, [one.address], cdevs=False, stub=False)
    account(hardware, comparison)


def free_groups(seen: Sequence[Seen], below: Sequence[Seen]) -> None:
    """Take from their drivers the functions elsewhere that share a group with some below: with
    one of them on a kernel driver nobody could open the group."""
    groups = {one.group for one in below}
    for one in seen:
        if one.group in groups and one not in below and endpoint(one) and one.parent is not None:
            machine.put_on(one.address, None)


def account(hardware: Hardware, comparison: Comparison) -> None:
    """Each function that no case was about must be one of those that can have none."""
    for one in hardware.functions():
        if one.address in comparison.tried:
            continue
        if not endpoint(one):
            why = "a bridge in no set of a device: no vfio driver takes it"
        elif one.group is None and not machine.allow_noiommu():
            why = "a device without a group, on a kernel without no-IOMMU"
        else:
            assert one.parent is None, f"no case is about {one}"
            why = "the guest's own lines and display on the root bus, in use: no set"
        comparison.tally.apart[why] += 1


def endpoint(one: Seen) -> bool:
    return one.kind != "0604"


def function(one: Seen) -> Function:
    bridge = not endpoint(one)
    assert one.group is not None
    return Function(one.address, int(one.group), one.driver, bridge=bridge, kept=bridge)


def compare_virtual(physical: str, comparison: Comparison) -> None:
    """Virtual functions whose physical one a kernel driver has, and such that vfio has made."""
    native = machine.driver_of(physical)
    if native in (None, VFIO):
        native = _NATIVE[Hardware().function(physical).kind]
        machine.put_on(physical, native)
    virtual = machine.set_virtual_functions(physical, 2)
    try:
        for address in virtual:
            machine.put_on(address, VFIO)
        members = [
            Function(physical, machine.group_of(physical), kept=True),
            *(Function(one, machine.group_of(one), on_vfio=True) for one in virtual),
        ]
        comparison.compare(members, virtual, cdevs=machine.with_cdevs(), stub=False)
    finally:
        give_up(physical)

    machine.put_on(physical, VFIO)
    Path("/sys/module/vfio_pci/parameters/enable_sriov").write_text("1")
    virtual = machine.set_virtual_functions(physical, 2)
    try:
        for address in virtual:
            machine.put_on(address, VFIO)
        everything = [physical, *virtual]
        members = [
            Function(one, machine.group_of(one), on_vfio=True, token=True) for one in everything
        ]
        comparison.compare(members, everything, cdevs=machine.with_cdevs(), stub=False)
    finally:
        give_up(physical)


def give_up(physical: str) -> None:
    """Remove the virtual functions, unless one is open: the kernel would wait for it for ever."""
    if not machine.open_nodes():
        machine.set_virtual_functions(physical, 0)
