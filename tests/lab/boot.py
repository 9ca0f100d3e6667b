"""Boots a kernel on a topology with virtme-ng and hands out what the guest reports.

The guest sees the host's own root, copy-on-write: checkout and virtual environment are there.
It never gets the host's root writable.
"""

import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import monitor
from tests.lab.kernels import Kernel
from tests.lab.protocol import PORT_NAME, Event, decode
from tests.lab.topology import Topology

REPOSITORY = Path(__file__).parents[2]
TAIL_LINES = 60

# Without a beat for so long a guest is frozen; the machine may be busy with other things.
FREEZE_PATIENCE = 120.0

_ENTER = Path(__file__).parent / "enter.sh"
_LEASH = Path(__file__).parent / "leash.sh"

# udev loads these on stock kernels; without hardware help that is seconds of every boot.
_UNUSED_MODULES = (
    "modprobe.blacklist=ahci,libahci,libata,sr_mod,sd_mod,lpc_ich,i2c_i801,i2c_smbus,i6300esb,"
    "iTCO_wdt,bochs,qemu_fw_cfg,virtio_net,virtio_rng,joydev,psmouse,pcspkr,evdev,serio_raw"
)

# The kernel panics if the emulated timer does not tick in time, which a busy host cannot promise.
_TRUST_TIMER = "no_timer_check"

# A periodic tick, which comes again if it is lost once. Where each timer programs the next one,
# 7.2 (kernel/time/hrtimer.c, HRTIMER_REARM_DEFERRED) on QEMU's emulated APIC stops now and then:
# "rcu: Possible timer handling issue on cpu=0", a halted processor, and no timer softirq on it
# ever after.
_PERIODIC_TICK = ("highres=off", "nohz=off")

# The host's root once more, for `enter.sh`. Bus named: after a topology with a second root,
# QEMU's own choice may be that one.
_SECOND_ROOT = (
    "-fsdev",
    "local,id=labroot,path=/,security_model=none,readonly=on,multidevs=remap",
    "-device",
    "virtio-9p-pci,bus=pcie.0,fsdev=labroot,mount_tag=isod.root",
)


class GuestError(Exception):
    """The guest ended or stopped reporting before its work was done."""


class FrozenError(GuestError):
    """The guest has no pulse: it stands still, whatever runs in it."""


@dataclass(frozen=True)
class Machine:
    """What is booted, and how."""

    kernel: Kernel
    topology: Topology
    use_kvm: bool = False
    memory: str = "2G"
    processors: int = 2


def virtme_command(machine: Machine, qemu: Sequence[str] = ()) -> list[str]:
    """The part of vng's command line that is the same for tests and for a shell."""
    program = Path(sys.executable).parent / "vng"
    command = [str(program), "-r", str(machine.kernel.image), "--force-9p", "--disable-microvm"]
    emulation: list[str] = []
    if not machine.use_kvm:
        command.append("--disable-kvm")
        # One thread for all processors: with several, QEMU 10 can run into its own assertion
        # "iotlb_to_section: section_index < d->map.sections_nb", when one processor maps a BAR
        # while another one reads device memory.
        emulation = ["-accel", "tcg,thread=single"]
    command += ["--user", "root", "-m", machine.memory, "--cpus", str(machine.processors)]
    arguments = [*emulation, *machine.topology.arguments(), *_SECOND_ROOT, *qemu]
    command.append(f"--qemu-opts={shlex.join(arguments)}")
    options = (_UNUSED_MODULES, _TRUST_TIMER, *_PERIODIC_TICK, *machine.topology.command_line)
    for option in options:
        command += ["--append", option]
    return command


def entered(command: list[str]) -> list[str]:
    """The command as it runs in a guest: behind the mounts that make it quick."""
    return [str(_ENTER), str(REPOSITORY), sys.executable, *command]


def virtme_environment(temporary: Path) -> dict[str, str]:
    """virtme-ng calls its own programs by name, and keeps its scraps in TMPDIR."""
    programs = Path(sys.executable).parent
    path = f"{programs}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, "TMPDIR": str(temporary)}


class Guest:
    """A booted guest. `events` yields what it reports; `end` kills what is left of it."""

    def __init__(self, machine: Machine) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="isod-lab-"))
        self.directory.chmod(0o755)
        self.console = self.directory / "console.log"
        self.console.touch()
        self._machine = machine
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._ending = threading.Lock()
        self._ended = False

    def events(self, command: list[str], patience: Callable[[], float]) -> Iterator[Event]:
        """Boot, run *command* as root and yield events up to `finished`.

        What powers the guest off is `end`: it need not do so itself.
        Raises GuestError when QEMU ends without a `finished`, or when nothing but beats came for
        as many seconds as *patience* says at that time, and FrozenError when not even those did.
        Only events count: a kernel that complains of a stuck task on the console makes no
        progress.
        """
        path = self.directory / "results"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            self._start(path, command)
            last = time.monotonic()
            for line in self._lines(listener, patience):
                event = decode(line)
                if event["event"] != "beat":
                    last = time.monotonic()
                    yield event
                elif time.monotonic() - last > patience():
                    raise GuestError(
                        f"the guest hung: nothing happened for {patience():.0f} seconds"
                    )
                if event["event"] == "finished":
                    return
        raise GuestError("the guest ended before its tests did (a panic, or QEMU failed)")

    def _start(self, results: Path, inside: list[str]) -> None:
        qemu = ["-chardev", f"socket,id=lab,path={results}"]
        qemu += ["-device", "virtio-serial-pci,bus=pcie.0,id=labserial"]
        qemu += ["-device", f"virtserialport,bus=labserial.0,name={PORT_NAME},chardev=lab"]
        qemu += monitor.arguments(self.directory / "monitor")
        command = [str(_LEASH)]
        command += virtme_command(self._machine, qemu)
        # Verbose, so that the console goes somewhere at all; then only warnings of the kernel.
        command += ["-v", "--append", "loglevel=5", "--", shlex.join(entered(inside))]
        with self._ending:
            if self._ended:
                raise GuestError("the run ended before this guest was started")
            # A session of its own: its process group is what `end` kills, and nothing else; and
            # what the leash kills if this process dies without having come to that.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=virtme_environment(self.directory),
                start_new_session=True,
            )
        self._pump = threading.Thread(target=self._copy_console, daemon=True)
        self._pump.start()

    def _copy_console(self) -> None:
        # A pipe and not the file itself: QEMU opens it several times over and would truncate it.
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as source, self.console.open("ab", buffering=0) as log:
            while chunk := os.read(source.fileno(), 65536):
                log.write(chunk)

    def _lines(self, listener: socket.socket, patience: Callable[[], float]) -> Iterator[bytes]:
        assert self._process is not None
        ended = os.pidfd_open(self._process.pid)
        try:
            if not _ready([listener.fileno(), ended], patience(), listener.fileno()):
                return
            connection, _ = listener.accept()
            with connection:
                pending = b""
                while _ready([connection.fileno()], FREEZE_PATIENCE):
                    chunk = connection.recv(65536)
                    if not chunk:
                        return
                    *lines, pending = (pending + chunk).split(b"\n")
                    yield from lines
        finally:
            os.close(ended)

    def end(self) -> None:
        """Kill what still runs of this guest, by the process group that was started for it."""
        with self._ending:
            self._ended = True
            process = self._process
        if process is not None:
            # Only while it is not reaped is its id surely still its own.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        if self._pump is not None:
            self._pump.join(timeout=10)

    def tail(self) -> str:
        """The end of the console, for whoever must find out why."""
        text = self.console.read_text(errors="replace")
        printable = "".join(c for c in text if c.isprintable() or c in "\n\t")
        return "\n".join(printable.splitlines()[-TAIL_LINES:])

    def processors(self) -> str:
        """What QEMU says of the processors, for a guest that says nothing itself."""
        return monitor.processors(self.directory / "monitor")

    def discard(self) -> None:
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def _ready(descriptors: list[int], seconds: float, wanted: int | None = None) -> bool:
    """Wait until one can be read; false if it is not the wanted one."""
    readable, _, _ = select.select(descriptors, [], [], seconds)
    if not readable:
        raise FrozenError(f"the guest froze: not a beat of it for {seconds:.0f} seconds")
    return wanted is None or wanted in readable
