"""What ``driver_override`` reads as, and devices whose lock is held."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from isod.kernel.linux import LinuxKernel
from isod.kernel.linux.limits import set_limit
from isod.kernel.overrides import Override, parse_override, plain_reader
from isod.model.address import Address
from isod.model.step import Limit

from .fake_sysfs import add_device


def test_unset_reads_in_two_ways() -> None:
    assert parse_override("(null)\n") is None
    assert parse_override("\n") is None
    assert parse_override("vfio-pci\n") == "vfio-pci"


def test_a_plain_reader_leaves_out_what_it_cannot_read(tmp_path: Path) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        add_device(tmp_path, name, driver_override="vfio-pci")
    devices = tmp_path / "sys/bus/pci/devices"
    (devices / "0000:02:00.0/driver_override").unlink()
    (devices / "0000:03:00.0/driver_override").write_bytes(b"\xff\n")
    names = ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"]
    found = plain_reader(tmp_path)(names)
    assert found == {names[0]: Override("vfio-pci"), names[1]: Override()}


def test_a_held_lock_makes_a_device_unsettled(tmp_path: Path) -> None:
    """A FIFO stands for an attribute that waits for the device's lock."""
    device = add_device(tmp_path, "0000:01:00.0")
    (device / "driver_override").unlink()
    os.mkfifo(device / "driver_override")
    kernel = LinuxKernel(tmp_path)
    found = kernel.look(Address.pci("0000:01:00.0"))
    assert found is not None
    assert found.unsettled
    kernel.close()
    # The abandoned reader goes on its way.
    os.close(os.open(device / "driver_override", os.O_WRONLY))


def test_a_limit_of_an_odd_name(tmp_path: Path) -> None:
    """A program's name may look like the fields after it."""
    program = tmp_path / "a) S 1 2"
    program.symlink_to(sys.executable)
    command = [str(program), "-I", "-S", "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        text = Path(f"/proc/{process.pid}/stat").read_text()
        started = int(text.rpartition(")")[2].split()[19])
        result = set_limit(Limit(process.pid, started, 0, 0))
        process.stdin.write(b"\n")
    assert result.former_limit is not None
