"""A QEMU without privileges gets a real device from isod and boots a kernel that uses it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware
from tests.lab.kernels import cached_kernel

from .broker import NOBODY, driver_of, running_broker, seconds_until_returned

QEMU = "qemu-system-x86_64"
BOOT_SECONDS = 400.0


def policy(address: str, hand_over: str) -> str:
    return f"""
version = 1
[[rule]]
name = "vm"
effect = "allow"
who = [{{ uid = [{NOBODY}] }}]
what = [{{ address = "pci:{address}" }}]
[rule.terms]
hand_over = ["{hand_over}"]
memlock = "2GiB"
"""


def nested_kernel(folder: Path) -> Path:
    """The lab's own kernel, at a place that nobody can read."""
    kernel = cached_kernel("7.2")
    assert kernel is not None
    copy = folder / "bzImage"
    copy.write_bytes(kernel.image.read_bytes())
    copy.chmod(0o644)
    return copy


def boot(folder: Path, hardware: Hardware, hand_over: str) -> str:
    """Boot a nested kernel with the NVMe; returns its console. Without a root file system it
    lists its disks and ends, and QEMU with it."""
    nvme = hardware.nvme
    former = driver_of(nvme)
    assert former == "nvme"
    kernel = nested_kernel(folder)
    with running_broker(folder, policy(nvme, hand_over)) as broker:
        command = broker.isoctl(
            "exec",
            "--qemu",
            "-d",
            nvme,
            "--qemu-device-options",
            "rombar=0",
            "--",
            *(QEMU, "-accel", "tcg", "-m", "128", "-nographic", "-no-reboot", "-net", "none"),
            *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
        )
        console = run_to_its_end(command, folder)
        took = seconds_until_returned(broker, nvme, former, limit=2.0)
        print(f"lease gone and {former} back {took:.3f} s after QEMU's end")
    return console


def run_to_its_end(command: list[str], folder: Path) -> str:
    """Run a QEMU; its console, also when it does not end in time."""
    log = folder / "console.log"
    with log.open("wb") as console:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd=folder
        )
        try:
            process.wait(BOOT_SECONDS)
        finally:
            process.kill()
            process.wait()
            text = log.read_text(errors="replace")
            print(text[-6000:])
    return text


def assert_nested_disk(console: str) -> None:
    assert "nvme nvme0: pci function" in console
    assert "nvme0n1" in console


@pytest.mark.lab(kernels=("7.2",), limit=600)
def test_boots_on_iommufd(open_folder: Path, hardware: Hardware) -> None:
    assert_nested_disk(boot(open_folder, hardware, "iommufd"))


@pytest.mark.lab(kernels=("6.12",), limit=600)
def test_boots_on_nodes(open_folder: Path, hardware: Hardware) -> None:
    assert_nested_disk(boot(open_folder, hardware, "nodes"))
