"""The machine as the test uses it: drivers are put onto functions, and the prober is run."""

from __future__ import annotations

import errno
import json
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PCI = Path("/sys/bus/pci")
_PATIENCE = 60


def with_cdevs() -> bool:
    return Path("/dev/iommu").exists()


def with_stub() -> bool:
    subprocess.run(["modprobe", "-q", "pci-stub"], check=False)
    return (PCI / "drivers/pci-stub").exists()


def driver_of(address: str) -> str | None:
    link = PCI / "devices" / address / "driver"
    return link.readlink().name if link.is_symlink() else None


def put_on(address: str, driver: str | None) -> None:
    """Put a function on a driver, or on none. Nothing may have it open: an unbind would wait."""
    place = PCI / "devices" / address
    former = driver_of(address)
    (place / "driver_override").write_text(f"{driver or 'nothing'}\n")
    if former == driver:
        return
    if former is not None:
        (place / "driver/unbind").write_text(address)
    if driver is not None:
        (PCI / "drivers_probe").write_text(address)
    assert driver_of(address) == driver, f"{address} is on {driver_of(address)}, not on {driver}"


def unbind_bridge(address: str) -> None:
    """Take a bridge from a driver that keeps its group from being owned."""
    if driver_of(address) not in (None, "pcieport"):
        (PCI / "devices" / address / "driver/unbind").write_text(address)


def set_virtual_functions(physical: str, count: int) -> list[str]:
    """Make as many virtual functions, on no driver unless vfio takes them by itself."""
    place = PCI / "devices" / physical
    if count:
        (place / "sriov_drivers_autoprobe").write_text("0")
    (place / "sriov_numvfs").write_text(f"{count}")
    return [(place / f"virtfn{number}").readlink().name for number in range(count)]


def allow_noiommu() -> bool:
    """Let vfio have devices without an IOMMU group, where the kernel is built for that."""
    switch = Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
    if not switch.exists():
        return False
    switch.write_text("Y")
    return True


def is_virtual(address: str) -> bool:
    return (PCI / "devices" / address / "physfn").is_symlink()


def group_of(address: str) -> int:
    return int((PCI / "devices" / address / "iommu_group").readlink().name)


def cdev_of(address: str) -> str:
    (node,) = (PCI / "devices" / address / "vfio-dev").iterdir()
    return f"/dev/vfio/devices/{node.name}"


def open_nodes(process: str = "[0-9]*") -> list[str]:
    """Which nodes of vfio and iommufd any process has open, or one."""
    found = []
    for link in Path("/proc").glob(f"{process}/fd/*"):
        try:
            target = str(link.readlink())
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ESRCH), error
            continue
        if target.startswith(("/dev/vfio", "/dev/iommu", "anon_inode:[vfio")):
            found.append(f"{link}: {target}")
    return found


def filled_in(script: Sequence[str]) -> list[str]:
    """The script with the devices' nodes as they are called now."""
    lines = []
    for line in script:
        before, mark, after = line.partition("{cdev ")
        address, _, rest = after.partition("}")
        lines.append(before + cdev_of(address) + rest if mark else line)
    return lines


class Prober:
    """A running prober. Starting one takes longer than what it then does, so it serves many cases;
    between them it has nothing open."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._unread = b""

    def run(self, script: Sequence[str]) -> list[dict[str, Any]]:
        """Give it commands and take the kernel's answers."""
        assert self._process.stdin is not None
        lines = filled_in(script)
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        return [self._answer(line) for line in lines]

    def _answer(self, command: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
            assert ready, f"the kernel does not return from {command}: {self._where()}"
            chunk = self._process.stdout.read(65536)
            assert chunk, f"the prober ended at: {command}"
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def clear(self) -> None:
        """Let it close everything."""
        (answer,) = self.run(["clear"])
        assert answer["errno"] == 0, answer
        assert not open_nodes(str(self._process.pid))

    def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(_PATIENCE) == 0
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"the prober does not come to its end: {self._where()}") from error
        finally:
            self._process.kill()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _where(self) -> str:
        """Where in the kernel it is stuck, for whoever must find out why."""
        place = Path("/proc") / str(self._process.pid)
        files = [place / name for name in ("wchan", "syscall", "stack")]
        return "; ".join(file.read_text().strip() for file in files if file.exists())


@contextmanager
def prober(program: Path) -> Iterator[Prober]:
    running = Prober(program)
    try:
        yield running
    finally:
        running.end()
