"""Prediction is truth: what isod says of a hot reset, from sysfs and before any vfio node is open,
is what the kernel then says to a client.

For every device of the topology, with every other function of its set in every state that the
table distinguishes, by both hand-overs where the kernel has them. Permission must be equal;
whether a permitted reset succeeds is another matter, and only counted.

``make prediction`` tries everything; without ``ISOD_PREDICTION=whole`` it is one case of each kind
for each set.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from isod.core.reset_table import TABLE
from tests.lab.hardware import Function as Seen
from tests.lab.hardware import Hardware
from tests.prediction import machine
from tests.prediction.cases import VFIO, Function
from tests.prediction.comparison import Comparison
from tests.prediction.tally import Tally

RecordProperty = Callable[[str, object], None]
KERNELS = ("7.2", "6.12")
LIMIT = 1800.0
# Devices are left on odd drivers here.
OWN = "prediction"
pytestmark = pytest.mark.prediction
_AHCI = "0106"


@pytest.fixture(scope="session")
def program(uapi_headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prober, built here."""
    program = tmp_path_factory.mktemp("prober") / "prober"
    source = Path(__file__).parent / "prober.c"
    options = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{uapi_headers}"]
    subprocess.run(["gcc", *options, "-o", program, source], check=True)
    return program


@pytest.fixture
def comparison(program: Path, tmp_path: Path) -> Comparison:
    whole = os.environ.get("ISOD_PREDICTION") == "whole"
    return Comparison(program, tmp_path / "predictions.jsonl", whole)


def with_cdevs() -> bool:
    return Path("/dev/iommu").exists()


def with_stub() -> bool:
    subprocess.run(["modprobe", "-q", "pci-stub"], check=False)
    return (machine.PCI / "drivers/pci-stub").exists()


def compare_all(hardware: Hardware, comparison: Comparison) -> None:
    """Every device below a port, and one on the root bus."""
    seen = [one for one in hardware.functions() if one.group is not None]
    for one in seen:
        if one.kind == "0604":
            machine.unbind_bridge(one.address)
    for place in sorted({one.path.resolve().parent for one in seen if one.parent is not None}):
        below = [one for one in seen if place in one.path.resolve().parents]
        callers = [
            one.address for one in below if one.path.resolve().parent == place and endpoint(one)
        ]
        comparison.compare(
            [function(one) for one in below], callers, cdevs=with_cdevs(), stub=with_stub()
        )
    on_root_bus = [one for one in seen if one.parent is None and one.kind == _AHCI]
    for one in on_root_bus:
        comparison.compare([function(one)], [one.address], cdevs=with_cdevs(), stub=False)


def endpoint(one: Seen) -> bool:
    return one.kind != "0604"


def function(one: Seen) -> Function:
    bridge = not endpoint(one)
    assert one.group is not None
    return Function(one.address, int(one.group), one.driver, bridge=bridge, kept=bridge)


def report(comparison: Comparison, record_property: RecordProperty) -> None:
    record_property("prediction", comparison.tally.as_data())
    print(*comparison.tally.lines(), sep="\n")
    print(comparison.book.read_text())
    assert comparison.tally.cases > 0
    assert not comparison.tally.mismatches, "\n".join(comparison.tally.mismatches)


@pytest.mark.lab(kernels=KERNELS, topology="standard", own=OWN, limit=LIMIT)
def test_standard(
    hardware: Hardware, comparison: Comparison, record_property: RecordProperty
) -> None:
    compare_all(hardware, comparison)
    report(comparison, record_property)


@pytest.mark.lab(kernels=KERNELS, topology="shared-bus", own=OWN, limit=LIMIT)
def test_two_groups_on_one_bus(
    hardware: Hardware, comparison: Comparison, record_property: RecordProperty
) -> None:
    compare_all(hardware, comparison)
    report(comparison, record_property)


@pytest.mark.lab(kernels=KERNELS, topology="reset-sets", own=OWN, limit=LIMIT)
def test_sets_with_bridges(
    hardware: Hardware, comparison: Comparison, record_property: RecordProperty
) -> None:
    compare_all(hardware, comparison)
    report(comparison, record_property)


@pytest.mark.lab(kernels=KERNELS, topology="slots", own=OWN, limit=LIMIT)
def test_slots(hardware: Hardware, comparison: Comparison, record_property: RecordProperty) -> None:
    compare_all(hardware, comparison)
    report(comparison, record_property)


@pytest.mark.lab(kernels=KERNELS, topology="sriov", own=OWN, limit=LIMIT)
def test_virtual_functions(
    hardware: Hardware, comparison: Comparison, record_property: RecordProperty
) -> None:
    compare_all(hardware, comparison)
    compare_virtual(hardware.sriov_nic, comparison)
    report(comparison, record_property)


@pytest.mark.lab(kernels=KERNELS, topology="slots", own=OWN, limit=LIMIT)
def test_virtual_functions_in_a_slot(
    hardware: Hardware, comparison: Comparison, record_property: RecordProperty
) -> None:
    physical = next(one for one in hardware.functions() if one.virtual_functions and alone(one))
    compare_virtual(physical.address, comparison)
    report(comparison, record_property)


@pytest.mark.lab(kernels=KERNELS, topology="no-isolated-msi", own=OWN, limit=LIMIT)
def test_no_isolated_msi(
    hardware: Hardware, comparison: Comparison, record_property: RecordProperty
) -> None:
    comparison.isolated = False
    compare_all(hardware, comparison)
    report(comparison, record_property)


def alone(one: Seen) -> bool:
    """Of the network cards with virtual functions the one that is alone in its slot."""
    beside = one.path.resolve().parent.glob(f"{one.slot}.*")
    return one.kind == "0200" and len(list(beside)) == 1


def compare_virtual(physical: str, comparison: Comparison) -> None:
    """Virtual functions whose physical one a kernel driver has, and such that vfio has made."""
    native = machine.driver_of(physical)
    if native in (None, VFIO):
        native = "igb"
        machine.put_on(physical, native)
    virtual = machine.set_virtual_functions(physical, 2)
    try:
        for address in virtual:
            machine.put_on(address, VFIO)
        members = [
            Function(physical, machine.group_of(physical), kept=True),
            *(Function(one, machine.group_of(one), on_vfio=True) for one in virtual),
        ]
        comparison.compare(members, virtual, cdevs=with_cdevs(), stub=False)
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
        comparison.compare(members, everything, cdevs=with_cdevs(), stub=False)
    finally:
        give_up(physical)


def give_up(physical: str) -> None:
    """Remove the virtual functions, unless one is open: the kernel would wait for it for ever."""
    if not machine.open_nodes():
        machine.set_virtual_functions(physical, 0)


@pytest.mark.lab(guest=False)
def test_no_cell_of_the_table_is_left_out(tally: Tally) -> None:
    """In all guests together."""
    possible = {cell for cell, ruling in TABLE.items() if ruling != "cannot be"}
    empty = [cell for cell in possible if not tally.cells[cell[0].value, cell[1].value]]
    assert empty == []
    assert tally.mismatches == []
