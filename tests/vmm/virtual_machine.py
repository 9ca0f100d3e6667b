"""A virtual machine that costs little: it is emulated within an emulated guest.

Nearly all of its time goes into translating code that runs once, so whatever firmware and kernel
can leave out is left out: no ACPI (and so no AML to interpret), no default devices, no checks of
timers, no mitigations. Interrupts of the device are messages and need no interrupt controller.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.kernels import cached_kernel

_QEMU = "qemu-system-x86_64"
_MACHINE = "pc,acpi=off,hpet=off,usb=off,smm=off,vmport=off,graphics=off"
_CONSOLE = ("-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot")
# Without a root file system the kernel lists its disks and ends, and QEMU with it.
_APPEND = (
    "console=ttyS0 panic=-1 acpi=off noapic nokaslr tsc=reliable no_timer_check nowatchdog "
    "mitigations=off lpj=4000000"
)


def qemu(kernel: Path) -> list[str]:
    """QEMU's command line without the device."""
    machine = ["-machine", _MACHINE, "-accel", "tcg,thread=single", "-smp", "1", "-m", "128"]
    return [_QEMU, *machine, *_CONSOLE, "-kernel", str(kernel), "-append", _APPEND]


def copied_kernel(folder: Path) -> Path:
    """The lab's own kernel, at a place in ``folder`` where nobody can read it."""
    kernel = cached_kernel("7.2")
    assert kernel is not None
    copy = folder / "bzImage"
    copy.write_bytes(kernel.image.read_bytes())
    copy.chmod(0o644)
    return copy


@contextmanager
def running(command: Sequence[str], console: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that becomes a QEMU; in the end it is dead and its console printed."""
    with (
        console.open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            print(console.read_text(errors="replace")[-6000:])
