"""Prediction is truth: what isod says of a hot reset, from sysfs and before any vfio node is open,
is what the kernel then says to a client.

For every device of the topology, with every other function of its set in every state that the
table distinguishes, by both hand-overs where the kernel has them. Permission must be equal;
whether a permitted reset succeeds is another matter, and only counted.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.lab.hardware import Function as Seen
from tests.lab.hardware import Hardware
from tests.lab.selection import GuestName
from tests.prediction import machine
from tests.prediction.comparison import Comparison
from tests.prediction.every_device import compare_all, compare_virtual
from tests.prediction.tally import Tally

RecordProperty = Callable[[str, object], None]
KERNELS = ("7.2", "6.12")
LIMIT = 1800.0
# Devices are left on odd drivers here.
OWN = "prediction"


@pytest.fixture(scope="session")
def program(uapi_headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prober, built here."""
    program = tmp_path_factory.mktemp("prober") / "prober"
    source = Path(__file__).parent / "prober.c"
    options = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{uapi_headers}"]
    subprocess.run(["gcc", *options, "-o", program, source], check=True)
    return program


@pytest.fixture
def comparison(program: Path, tmp_path: Path, lab_guest: GuestName) -> Comparison:
    tally = Tally(lab_guest.kernel, cdevs=machine.with_cdevs())
    return Comparison(program, tmp_path / "predictions.jsonl", tally)


def report(comparison: Comparison, record_property: RecordProperty) -> None:
    data = comparison.tally.as_data()
    record_property("prediction", data)
    print(*comparison.tally.lines(), comparison.book.read_text(), sep="\n")
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
    for physical in (hardware.sriov_nic, hardware.sriov_nvme):
        compare_virtual(physical, comparison)
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


@pytest.mark.lab(kernels=KERNELS, topology="ports-without-acs", own=OWN, limit=LIMIT)
def test_groups_that_grow_upwards(
    hardware: Hardware, comparison: Comparison, record_property: RecordProperty
) -> None:
    compare_all(hardware, comparison)
    report(comparison, record_property)


def alone(one: Seen) -> bool:
    """Of the network cards with virtual functions the one that is alone in its slot."""
    beside = one.path.resolve().parent.glob(f"{one.slot}.*")
    return one.kind == "0200" and len(list(beside)) == 1


@pytest.mark.lab(guest=False)
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_cell_of_the_table_is_left_out(tallies: Mapping[str, Tally], kernel: str) -> None:
    """In all guests of a kernel together, with every cell that the kernel can have."""
    assert tallies[kernel].empty() == []
    assert tallies[kernel].mismatches == []
