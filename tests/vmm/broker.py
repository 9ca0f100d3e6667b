"""A running isod on the guest's own kernel, and unprivileged programs that use it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isod.client.blocking import Client

NOBODY = 65534
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Broker:
    """The daemon's socket and log."""

    socket: Path
    log: Path

    def client(self) -> Client:
        return Client.connect(str(self.socket), timeout=60.0)

    def isoctl(self, *arguments: str) -> list[str]:
        """The command line of isoctl run by nobody. The interpreter may lie where only root can
        read, so privileges are dropped once everything is imported."""
        module = "isod.cli.demo.without_privileges"
        program = [sys.executable, "-m", module, str(NOBODY)]
        return [*program, "--socket", str(self.socket), *arguments]


@contextmanager
def running_broker(folder: Path, policy: str) -> Iterator[Broker]:
    """Run isod as root with this policy until the block ends; its log is printed."""
    rules = folder / "policy"
    rules.mkdir()
    (rules / "50-test.toml").write_text(policy)
    broker = Broker(folder / "isod.sock", folder / "isod.log")
    command = [sys.executable, "-m", "isod.cli.isod", "serve", "--socket", str(broker.socket)]
    command += ["--policy", str(rules), "--state", str(folder / "state")]
    with broker.log.open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        _wait_for(broker, process)
        yield broker
    finally:
        process.terminate()
        code = process.wait(30)
        print(broker.log.read_text())
    assert code == 0, f"isod ended with {code}"
    assert "Traceback" not in broker.log.read_text()


def _wait_for(broker: Broker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not broker.socket.exists() or "listening" not in broker.log.read_text():
        assert process.poll() is None, broker.log.read_text()
        assert time.monotonic() < deadline, broker.log.read_text()
        time.sleep(0.05)


def driver_of(address: str) -> str | None:
    try:
        return Path("/sys/bus/pci/devices", address, "driver").readlink().name
    except FileNotFoundError:
        return None


def seconds_until_returned(client: Client, address: str, driver: str, limit: float) -> float:
    """How long it takes from now until no lease is left and the driver is back."""
    begin = time.monotonic()
    while True:
        leases, bound = client.info().leases, driver_of(address)
        took = time.monotonic() - begin
        if leases == 0 and bound == driver:
            return took
        assert took < limit, f"after {took:.1f} s: {leases} leases, bound to {bound}"
        time.sleep(0.01)  # no event tells of a lease's end
