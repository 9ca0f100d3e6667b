"""A QEMU without privileges gets a real device from isod and boots a kernel that uses it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware

from .broker import Broker, driver_of, seconds_until_returned
from .virtual_machine import qemu, running

BOOT_SECONDS = 500.0
RETURN_SECONDS = 2.0


def command(broker: Broker, address: str, kernel: Path) -> list[str]:
    """On the hand-over that ``--qemu`` chooses: iommufd, or nodes where there is none."""
    device = ["-d", address, "--qemu-device-options", "rombar=0"]
    return broker.isoctl("exec", "--qemu", *device, "--", *qemu(kernel))


@pytest.mark.lab(kernels=("6.12", "7.2"), limit=600)
def test_boots_a_kernel_that_uses_the_device(
    broker: Broker, open_folder: Path, nested_kernel: Path, hardware: Hardware
) -> None:
    nvme = hardware.nvme
    assert driver_of(nvme) == "nvme"
    console = open_folder / "boot.log"
    began = time.monotonic()
    with (
        broker.client() as client,
        running(command(broker, nvme, nested_kernel), console) as process,
    ):
        assert process.wait(BOOT_SECONDS) == 0
        ended = time.monotonic()
        took = seconds_until_returned(client, nvme, "nvme", limit=RETURN_SECONDS)
    print(f"ran {ended - began:.1f} s; lease gone and nvme back {took:.3f} s after its end")
    text = console.read_text(errors="replace")
    assert "nvme nvme0: pci function" in text
    assert "nvme0n1" in text


@pytest.mark.lab(kernels=("7.2",), limit=600)
def test_killed_while_it_runs_with_the_device(
    broker: Broker, open_folder: Path, nested_kernel: Path, hardware: Hardware
) -> None:
    nvme = hardware.nvme
    console = open_folder / "killed.log"
    with (
        broker.client() as client,
        running(command(broker, nvme, nested_kernel), console) as process,
    ):
        until_in_use(process, nvme)
        process.kill()
        process.wait()
        took = seconds_until_returned(client, nvme, "nvme", limit=RETURN_SECONDS)
    print(f"lease gone and nvme back {took:.3f} s after its end")


def until_in_use(process: subprocess.Popen[bytes], address: str) -> None:
    """Wait until the process has become QEMU and has bound the device."""
    enable = Path("/sys/bus/pci/devices", address, "enable")
    comm = Path(f"/proc/{process.pid}/comm")
    deadline = time.monotonic() + BOOT_SECONDS
    while not (comm.read_text().startswith("qemu") and enable.read_text().strip() == "1"):
        assert process.poll() is None, "it ended early"
        assert time.monotonic() < deadline, "it never used the device"
        time.sleep(0.05)  # neither sysfs nor /proc tells of it by an event
