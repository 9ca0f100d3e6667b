"""Guest tests of the lab: the kernel and the hardware are what their names promise."""

import os
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware
from tests.lab.kernels import cached_kernel
from tests.lab.selection import GuestName, guest_here

pytestmark = pytest.mark.lab


def test_runs_as_root_in_the_guest(lab_guest: GuestName) -> None:
    assert guest_here() == lab_guest
    assert os.geteuid() == 0


def test_kernel_is_the_one_named(lab_guest: GuestName) -> None:
    kernel = cached_kernel(lab_guest.kernel)
    assert kernel is not None
    assert os.uname().release == kernel.release


@pytest.mark.parametrize("number", [1, 2])
def test_keeps_its_own_parameters(number: int) -> None:
    assert number in (1, 2)


def test_checkout_can_be_written_without_reaching_the_host() -> None:
    scrap = Path(__file__).parent / "written-in-a-guest"
    scrap.write_text("gone with the guest")
    assert scrap.exists()


class TestStandard:
    """The shapes of lab.md's topology, whatever the numbers."""

    def test_two_functions_share_a_group(self, hardware: Hardware) -> None:
        one, other = hardware.two_functions
        assert hardware.group_members(one) == [one, other]
        assert hardware.function(one).driver == "e1000e"

    def test_nvme_is_alone(self, hardware: Hardware) -> None:
        nvme = hardware.nvme
        assert hardware.group_members(nvme) == [nvme]
        assert hardware.function(nvme).driver == "nvme"
        assert "flr" in (hardware.function(nvme).path / "reset_method").read_text().split()

    def test_bridge_shares_its_group_with_its_nics(self, hardware: Hardware) -> None:
        nics = hardware.bridge_nics
        assert hardware.group_members(nics[0]) == [hardware.bridge, *nics]
        assert [hardware.function(nic).driver for nic in nics] == ["e1000", "e1000"]

    def test_each_switch_port_shares_a_group_with_its_nic(self, hardware: Hardware) -> None:
        for port, nic in zip(hardware.switch_ports, hardware.switch_nics, strict=True):
            assert hardware.group_members(nic) == [port, nic]

    def test_one_nic_has_no_group(self, hardware: Hardware) -> None:
        assert hardware.function(hardware.groupless).driver == "e1000e"

    def test_vfio_is_there(self) -> None:
        assert Path("/sys/bus/pci/drivers/vfio-pci").is_dir()
        assert Path("/dev/vfio/vfio").exists()

    def test_iommufd_only_in_the_built_kernel(self, lab_guest: GuestName) -> None:
        assert Path("/dev/iommu").exists() == (lab_guest.kernel == "7.2")


@pytest.mark.lab(topology="shared-bus")
def test_shared_bus_has_two_groups_on_one_bus(hardware: Hardware) -> None:
    one, other = hardware.two_functions
    assert hardware.function(one).parent == hardware.function(other).parent
    assert hardware.group_members(one) == [one]
    assert hardware.group_members(other) == [other]


@pytest.mark.lab(topology="no-isolated-msi")
def test_platform_has_no_interrupt_remapping(hardware: Hardware) -> None:
    assert len(hardware.group_members(hardware.two_functions[0])) == 2
    units = Path("/sys/class/iommu").glob("dmar*/intel-iommu/ecap")
    extended = [int(unit.read_text(), 16) for unit in units]
    assert extended
    # Bit 3 of the extended capabilities: the unit can remap interrupts.
    assert not any(value & 1 << 3 for value in extended)


@pytest.mark.lab(topology="sriov")
@pytest.mark.parametrize("kind", ["nic", "nvme"])
def test_virtual_functions_come_and_go(hardware: Hardware, kind: str) -> None:
    physical = hardware.sriov_nic if kind == "nic" else hardware.sriov_nvme
    place = hardware.function(physical).path
    # Without drivers: the test is about functions, and an unconfigured NVMe takes its time.
    (place / "sriov_drivers_autoprobe").write_text("0")
    (place / "sriov_numvfs").write_text("2")
    virtual = [(place / f"virtfn{number}").resolve().name for number in (0, 1)]
    try:
        assert all(hardware.function(address).is_virtual for address in virtual)
        assert all(hardware.group_members(address) == [address] for address in virtual)
    finally:
        (place / "sriov_numvfs").write_text("0")
    assert not any(function.is_virtual for function in hardware.functions())
