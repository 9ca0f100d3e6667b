"""A guest that panics or hangs: its unfinished tests fail, with the end of its console."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.boot import REPOSITORY

pytestmark = pytest.mark.lab(guest=False)

_PANIC = """
import pytest
from pathlib import Path

pytestmark = pytest.mark.lab(kernels=("7.2",))

def test_a_passes():
    print("said in the guest")

def test_b_panics():
    Path("/proc/sysrq-trigger").write_text("c")

def test_c_never_runs():
    pass
"""

_HANG = """
import os
import pytest
import threading

@pytest.mark.lab(kernels=("7.2",), limit=15)
def test_hangs():
    os.write(os.open("/dev/kmsg", os.O_WRONLY), b"<2>the last words\\n")
    threading.Event().wait()
"""


def start_outer(directory: Path, text: str) -> "subprocess.Popen[bytes]":
    """One that is going to be stopped; its guests' folders are in the directory."""
    (directory / "test_it.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.lab.plugin", "test_it.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(directory)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def emulators(directory: Path) -> list[int]:
    """The QEMUs of a run, by the paths that it gave them."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (place / "cmdline").read_bytes()
            if b"qemu-system" in command and os.fsencode(directory) in command:
                found.append(int(place.name))
    return found


def run_outer(directory: Path, text: str) -> str:
    """An outer run of its own, over one file."""
    (directory / "test_it.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rA", "-p", "tests.lab.plugin", "test_it.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    return run.stdout


def test_panic_fails_what_is_unfinished(tmp_path: Path) -> None:
    output = run_outer(tmp_path, _PANIC)
    assert "1 passed" in output
    assert "2 failed" in output
    assert "said in the guest" in output
    assert "the guest ended before its tests did" in output
    assert "sysrq: Trigger a crash" in output


def test_hang_ends_the_guest(tmp_path: Path) -> None:
    output = run_outer(tmp_path, _HANG)
    assert "1 failed" in output
    assert "nothing happened for 15 seconds" in output
    assert "the last words" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_guest(tmp_path: Path, number: signal.Signals) -> None:
    with start_outer(tmp_path, _HANG) as run:
        while not emulators(tmp_path):
            assert run.poll() is None
            # It waits for a slot of the machine's first, and tells nobody when it has one.
            time.sleep(0.1)
        guests = [os.pidfd_open(process) for process in emulators(tmp_path)]
        run.send_signal(number)
        run.wait(60)
        for guest in guests:
            ended, _, _ = select.select([guest], [], [], 60)
            os.close(guest)
            assert ended, "the guest outlived its run"
    assert emulators(tmp_path) == []
