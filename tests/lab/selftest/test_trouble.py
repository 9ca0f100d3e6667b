"""A guest that panics or hangs: its unfinished tests fail, with the end of its console."""

import os
import subprocess
import sys
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
    assert "reported nothing for 15 seconds" in output
    assert "the last words" in output
