"""A captured host is served as any other: a lease of it is granted, and put back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from isod.client.blocking import Client
from isod.kernel.capture import capture_host
from isod.kernel.capture_file import write_tar
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import STANDARD
from isod.kernel.simulated.kernel import SimulatedKernel

from .daemon import PATIENCE, Daemon, as_a_program
from .policy import NOTHING, rule

pytestmark = pytest.mark.slow  # starts and ends many daemons


def test_a_lease_on_a_captured_host(tmp_path: Path) -> None:
    build(tmp_path / "host", STANDARD)
    tar = tmp_path / "far.tar"
    with closing(SimulatedKernel(tmp_path / "host")) as kernel:
        write_tar(tar, capture_host(kernel, tmp_path / "host"))
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "p.toml").write_text(NOTHING + rule(uids=[os.getuid()]))
    arguments = ["--simulate", str(tar), "--policy", str(tmp_path / "policy")]
    for start in ("first", "again"):
        daemon = Daemon(as_a_program(arguments))
        daemon.until_it_listens()
        with Client.connect(tmp_path / "far.tar.host" / "isod.sock", timeout=PATIENCE) as client:
            assert client.info().simulated
            with client.acquire(["02:00.0"], hand_over="iommufd") as lease:
                assert lease.files, start
            daemon.until(lambda: client.info().leases == 0, "the lease stays")
            found = {device.address.short: device.driver for device in client.devices()}
            assert found["02:00.0"] == "nvme"
        daemon.stop()
    assert tar.is_file()


def test_what_is_no_capture_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("hello")
    ran = subprocess.run(
        [sys.executable, "-m", "isod.cli.isod", "serve", "--simulate", str(tmp_path / "x.tar")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "is no tar" in ran.stderr


def test_the_command_captures_this_machine(tmp_path: Path) -> None:
    """Whatever it is: a machine that tests run on need not have a device at all."""
    tar = tmp_path / "here.tar"
    ran = subprocess.run(
        [sys.executable, "-m", "isod.cli.isoctl", "capture", str(tar), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["file"] == str(tar)
    assert "no serial numbers" in told["holds"]
    again = subprocess.run(
        [sys.executable, "-m", "isod.cli.isoctl", "capture", str(tar)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "is there already" in " ".join(again.stderr.split())
