"""The kernel's IOMMU groups are what config space and topology say: surveyed inside the guest, with
every device of every topology, and explained without a remainder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from isod.cli.isod import main
from isod.core.isolation import Isolation
from isod.core.isolation_analysis import IsolationAnalysis
from isod.core.pci_links import Hierarchies, predicted_groups
from isod.daemon.survey_file import read_survey
from isod.kernel.linux import LinuxKernel
from isod.model.address import Address
from isod.model.host import HostSnapshot
from isod.model.isolation import IsolationInfo
from isod.model.survey import PortType, SurveyedFunction
from tests.lab.hardware import Hardware
from tests.prediction.machine import set_virtual_functions

KERNELS = ("7.2", "6.12")


def surveyed(folder: Path) -> HostSnapshot:
    """The machine as the daemon would see it after a survey."""
    assert main(["survey", "--output", str(folder)]) == 0
    found = read_survey(folder)
    assert found is not None
    kernel = LinuxKernel()
    snapshot = kernel.snapshot(1)
    kernel.close()
    return replace(snapshot, survey={one.address: one for one in found[1].functions})


def explained(snapshot: HostSnapshot) -> dict[str, IsolationInfo]:
    isolation, hierarchies = Isolation(snapshot), Hierarchies(snapshot)
    return {
        device.address.short: IsolationAnalysis(isolation, hierarchies, device).info()
        for device in snapshot.devices.values()
        if device.group is not None
    }


def names(groups: object) -> list[list[str]]:
    assert isinstance(groups, tuple | set)
    return sorted(sorted(address.short for address in group) for group in groups)


def check_all(snapshot: HostSnapshot) -> dict[str, IsolationInfo]:
    """Groups are as predicted, and nothing stays unknown or without a reason."""
    real = {frozenset(group.members) for group in snapshot.groups.values()}
    predicted = predicted_groups(snapshot)
    assert predicted is not None, snapshot.survey
    assert names(predicted) == names(real)
    answers = explained(snapshot)
    assert answers
    for name, answer in answers.items():
        assert answer.isolation in ("device", "group"), (name, answer)
        assert answer.granule.known, (name, answer)
        assert not answer.unread, (name, answer)
        for companion in answer.companions:
            assert companion.together in ("granule", "functions", "port"), (name, companion)
            assert companion.bridge or companion.reached == "yes", (name, companion)
    return answers


def facts(snapshot: HostSnapshot, name: str) -> SurveyedFunction:
    found = snapshot.surveyed(Address.parse(name))
    assert found is not None
    return found


def short(name: str) -> str:
    return Address.parse(name).short


@contextmanager
def virtual_functions(physical: str, count: int) -> Iterator[list[str]]:
    found = set_virtual_functions(physical, count)
    try:
        yield found
    finally:
        set_virtual_functions(physical, 0)


@pytest.mark.lab(kernels=KERNELS, topology="standard")
class TestStandard:
    def test_groups_are_as_predicted(self, hardware: Hardware, tmp_path: Path) -> None:
        snapshot = surveyed(tmp_path)
        answers = check_all(snapshot)
        first, second = map(short, hardware.bridge_nics)
        bridge = short(hardware.bridge)
        granule = answers[first].granule
        assert [address.short for address in granule.members] == [first, second]
        assert granule.bridge is not None
        assert granule.bridge.short == bridge
        told = {one.address.short: one for one in answers[first].companions}
        assert told[second].through == granule.bridge
        assert told[bridge].bridge
        assert answers[short(hardware.nvme)].isolation == "device"
        one, other = map(short, hardware.two_functions)
        assert [c.together for c in answers[one].companions if c.address.short == other] == [
            "functions"
        ]
        for nic, port in zip(hardware.switch_nics, hardware.switch_ports, strict=True):
            (companion,) = answers[short(nic)].companions
            assert (companion.together, companion.address.short) == ("port", short(port))

    def test_kinds_of_ports_are_read(self, hardware: Hardware, tmp_path: Path) -> None:
        snapshot = surveyed(tmp_path)
        port = facts(snapshot, hardware.switch_ports[0])
        assert port.express is not None
        assert port.express.port is PortType.downstream_port
        bridge = facts(snapshot, hardware.bridge)
        assert bridge.express is not None
        assert bridge.express.port is PortType.pci_bridge
        nic = facts(snapshot, hardware.bridge_nics[0])
        assert (nic.capabilities, nic.express) == (True, None)
        above = snapshot.devices[Address.parse(hardware.nvme)].bridges[0]
        root_port = facts(snapshot, above.name)
        assert root_port.acs is not None
        assert root_port.acs.control & 0x1D == 0x1D

    def test_without_sys_admin_nothing_is_isolated(self, hardware: Hardware) -> None:
        """The same command, by a root without the capability."""
        command = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
        command += [sys.executable, "-m", "isod.cli.isod", "survey", "--json"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 3, run.stderr
        functions = [
            SurveyedFunction.model_validate_json(json.dumps(one))
            for one in json.loads(run.stdout)["functions"]
        ]
        kernel = LinuxKernel()
        snapshot = replace(kernel.snapshot(1), survey={one.address: one for one in functions})
        kernel.close()
        assert predicted_groups(snapshot) is None
        answers = explained(snapshot)
        for name in (*hardware.two_functions, hardware.nvme, *hardware.bridge_nics):
            assert answers[short(name)].isolation == "unknown"

    def test_without_a_survey_nothing_is_isolated(self) -> None:
        kernel = LinuxKernel()
        snapshot = kernel.snapshot(1)
        kernel.close()
        for name, answer in explained(snapshot).items():
            assert answer.isolation == "unknown", name
            for companion in answer.companions:
                assert companion.reached in (None, "unknown"), (name, companion)


@pytest.mark.lab(kernels=KERNELS, topology="shared-bus")
class TestSharedBus:
    def test_functions_that_vendors_vouch_for_are_apart(
        self, hardware: Hardware, tmp_path: Path
    ) -> None:
        """Two functions of one NIC, without ACS, in two groups: by the kernel's list alone."""
        answers = check_all(surveyed(tmp_path))
        for function in hardware.two_functions:
            answer = answers[short(function)]
            assert answer.isolation == "device"
            assert answer.path[0].why == "is known to the kernel as redirecting"


@pytest.mark.lab(kernels=KERNELS, topology="sriov")
class TestVirtualFunctions:
    def test_groups_are_as_predicted(self, tmp_path: Path) -> None:
        check_all(surveyed(tmp_path))

    def test_virtual_functions_are_groups_of_their_own(
        self, hardware: Hardware, tmp_path: Path
    ) -> None:
        for physical in (hardware.sriov_nic, hardware.sriov_nvme):
            with virtual_functions(physical, 2) as functions:
                snapshot = surveyed(tmp_path)
                answers = check_all(snapshot)
                told = facts(snapshot, physical)
                assert told.sriov is not None
                assert told.sriov.enabled == 2
                for function in functions:
                    assert answers[short(function)].isolation == "device"


@pytest.mark.lab(kernels=KERNELS, topology="reset-sets")
class TestBridgesBesideDevices:
    def test_groups_are_as_predicted(self, tmp_path: Path) -> None:
        check_all(surveyed(tmp_path))


@pytest.mark.lab(kernels=KERNELS, topology="slots")
class TestSlots:
    def test_groups_are_as_predicted(self, tmp_path: Path) -> None:
        check_all(surveyed(tmp_path))


@pytest.mark.lab(kernels=KERNELS, topology="no-isolated-msi")
class TestWithoutIsolatedMsi:
    def test_groups_are_as_predicted(self, tmp_path: Path) -> None:
        check_all(surveyed(tmp_path))


@pytest.mark.lab(kernels=KERNELS, topology="ports-without-acs")
class TestPortsWithoutAcs:
    def test_groups_are_as_predicted(self, tmp_path: Path) -> None:
        snapshot = surveyed(tmp_path)
        answers = check_all(snapshot)
        bare = [
            device
            for device in snapshot.devices.values()
            if device.device_class == "020000" and device.bridges
        ]
        ports = [facts(snapshot, device.bridges[0].name) for device in bare]
        assert any(port.acs is None for port in ports)
        for device in bare:
            assert answers[device.address.short].isolation == "group"
