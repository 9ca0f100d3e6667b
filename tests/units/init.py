"""A systemd in the guest that runs the project's units, and what is asked of it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vmm.broker import driver_of

REPOSITORY = Path(__file__).parents[2]
SOCKET = Path("/run/isod/isod.sock")
POLICY = Path("/etc/isod/policy.d")
# The guest is emulated, and another one may run beside it.
READY_SECONDS = 300.0


class Init:
    """Process 1 of a namespace. ``run`` runs in it: a client outside would have no pid there.
    ``units`` is where it has its units from."""

    def __init__(self, pid: int, units: Path) -> None:
        self.pid = pid
        self._units = units

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--pid", "--mount", "--", *words]

    def run(self, *words: str, check: bool = True) -> str:
        """What a command prints. Raises CalledProcessError."""
        done = subprocess.run(
            self.command(*words), check=False, capture_output=True, text=True, timeout=READY_SECONDS
        )
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit by name."""
        listed = self.run("systemctl", "show", unit, "--property", ",".join(properties))
        return dict(line.partition("=")[::2] for line in listed.splitlines())

    def until_active(self, unit: str = "isod.service", *, but_not: str = "") -> str:
        """Wait until a unit is active, with another main process than ``but_not``; its pid."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            shown = self.show(unit, "ActiveState", "MainPID", "Result")
            if shown["ActiveState"] == "active" and shown["MainPID"] != but_not:
                return shown["MainPID"]
            assert time.monotonic() < deadline, f"{shown}\n{self.log()}"
            time.sleep(0.2)  # systemctl has nothing that waits for a restart

    @contextmanager
    def with_drop_in(self, path: Path) -> Iterator[None]:
        """isod runs with a drop-in meanwhile. It is restarted for that, before and after."""
        installed = self._units / "isod.service.d" / path.name
        shutil.copy(path, installed)
        try:
            self._restart()
            yield
        finally:
            installed.unlink()
            self._restart()

    def _restart(self) -> None:
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", "isod.service")

    def log(self, *words: str) -> str:
        """What the journal has of isod."""
        return self.run("journalctl", "--no-pager", "--unit", "isod.service", *words, check=False)


def write_policy(text: str) -> None:
    POLICY.mkdir(parents=True, exist_ok=True)
    (POLICY / "50-test.toml").write_text(text)


@contextmanager
def started(folder: Path, policy: str) -> Iterator[Init]:
    """Start it with a policy; in the end everything in it is dead."""
    units = folder / "units"
    write_policy(policy)
    script = Path(__file__).with_name("init.sh")
    with (folder / "init.log").open("w+") as log:
        process = subprocess.Popen(
            [str(script), str(units), sys.executable, str(REPOSITORY)], stdout=log, stderr=log
        )
        try:
            yield Init(_first_process(process, folder / "init.log"), units)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def _first_process(process: subprocess.Popen[bytes], log: Path) -> int:
    """The pid, outside, of the namespace's process 1, once it has its control socket."""
    deadline = time.monotonic() + READY_SECONDS
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        # ``unshare`` has one child, which becomes systemd.
        found = children.read_text().split() if children.exists() else []
        if found and SOCKET.exists() and Path("/run/systemd/private").exists():
            return int(found[0])
        time.sleep(0.1)


def until_driver(address: str, driver: str | None) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while driver_of(address) != driver:
        assert time.monotonic() < deadline, f"{address} is on {driver_of(address)}"
        time.sleep(0.05)


def until_not_driver(address: str, driver: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while driver_of(address) == driver:
        assert time.monotonic() < deadline, f"{address} is still on {driver}"
        time.sleep(0.02)


def until_ended(process: int) -> None:
    """Wait until a process, by its pid out here, has ended or is a zombie."""
    pidfd = os.pidfd_open(process)
    try:
        ready, _, _ = select.select([pidfd], [], [], READY_SECONDS)
        assert ready, f"{process} still runs"
    finally:
        os.close(pidfd)


def outside(inside: str) -> int:
    """The pid that this side knows a process of the namespace by."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                status = (place / "status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            for line in status.splitlines():
                words = line.split()
                if words[0] == "NSpid:" and len(words) == 3 and words[2] == inside:
                    return int(place.name)
    raise AssertionError(f"no process is {inside} inside")
