"""What other programs of root do to the machine meanwhile."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contract.linux_host import write_sysfs
from tests.lab.hardware import Hardware

_PCI = Path("/sys/bus/pci")


@contextmanager
def taken_for_vfio(address: str) -> Iterator[None]:
    """Bound to vfio-pci by hand, and to its former driver in the end."""
    device = _PCI / "devices" / address
    former = (device / "driver").readlink().name
    write_sysfs(device / "driver/unbind", address)
    write_sysfs(device / "driver_override", "vfio-pci")
    write_sysfs(_PCI / "drivers_probe", address)
    try:
        yield
    finally:
        write_sysfs(device / "driver/unbind", address)
        write_sysfs(device / "driver_override", "\n")
        write_sysfs(_PCI / "drivers_probe", address)
        assert (device / "driver").readlink().name == former


@contextmanager
def open_group(address: str) -> Iterator[None]:
    """The device's group opened by this process."""
    descriptor = os.open(f"/dev/vfio/{Hardware().function(address).group}", os.O_RDWR)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reset_method(address: str, methods: str) -> Iterator[None]:
    """The device's reset methods chosen by hand, and the former ones in the end."""
    attribute = _PCI / "devices" / address / "reset_method"
    former = attribute.read_text().strip()
    write_sysfs(attribute, methods)
    try:
        yield
    finally:
        write_sysfs(attribute, former)


@contextmanager
def deaf_override(address: str) -> Iterator[None]:
    """/dev/null in the place of the device's ``driver_override``: writing it succeeds and has no
    effect, so that the bus gives the device to its former driver again."""
    attribute = (_PCI / "devices" / address / "driver_override").resolve()
    subprocess.run(["mount", "--bind", "/dev/null", str(attribute)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(attribute)], check=True)


@contextmanager
def being_unbound(address: str) -> Iterator[None]:
    """A process writes the device's name to ``unbind``; it may have to wait for a client."""
    driver = (_PCI / "devices" / address / "driver").resolve()
    writing = subprocess.Popen(["sh", "-c", f"echo {address} > {driver}/unbind"])
    try:
        yield
    finally:
        assert writing.wait(120) == 0
