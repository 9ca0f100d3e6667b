"""QEMU as nobody, with a device from the unit as it is shipped."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from tests.vmm.virtual_machine import copied_kernel, qemu, running

from .client import NOBODY
from .init import SOCKET, Init, until_driver

pytestmark = pytest.mark.lab(kernels=("7.2",), limit=900)

BOOT_SECONDS = 600.0


def test_boots_a_kernel_that_uses_the_device(init: Init, nvme: str) -> None:
    """The unit's device list and system calls suffice for all that QEMU's device needs."""
    with tempfile.TemporaryDirectory(prefix="isod-qemu-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        console = folder / "boot.log"
        # The interpreter lies where nobody may not read: privileges go once all is imported.
        isoctl = [sys.executable, "-m", "isod.cli.demo.without_privileges", str(NOBODY)]
        isoctl += ["--socket", str(SOCKET), "exec", "--qemu", "-d", nvme]
        isoctl += ["--qemu-device-options", "rombar=0", "--", *qemu(copied_kernel(folder))]
        with running(init.command(*isoctl), console) as process:
            assert process.wait(BOOT_SECONDS) == 0
        assert "nvme0n1" in console.read_text(errors="replace")
    until_driver(nvme, "nvme")
