"""Processes are named by pidfd and start time, so that none is taken for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from isod.kernel.process import end_process, is_alive, open_process, start_time
from isod.model.reason import Reason, RefusedError

NOBODY = 65534


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_a_process_is_opened_by_pid_and_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    pidfd = open_process(sleeper.pid, started)
    assert is_alive(pidfd)
    end_process(pidfd, gently=True)
    assert sleeper.wait() == -signal.SIGTERM
    assert not is_alive(pidfd)
    end_process(pidfd, gently=False)  # gone already: no failure
    os.close(pidfd)


def test_a_pid_with_another_start_time_is_another_process(
    sleeper: subprocess.Popen[bytes],
) -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths
    started = start_time(sleeper.pid)
    assert started is not None
    with pytest.raises(RefusedError) as refused:
        open_process(sleeper.pid, started - 1)
    assert refused.value.refusal.reason is Reason.gone
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_process_that_is_gone_is_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    sleeper.kill()
    sleeper.wait()
    assert start_time(sleeper.pid) is None
    with pytest.raises(RefusedError):
        open_process(sleeper.pid, started)


@pytest.mark.skipif(os.geteuid() != 0, reason="another uid is needed")
def test_without_the_right_to_it_the_capability_is_named(
    sleeper: subprocess.Popen[bytes],
) -> None:
    program = (
        "import os, sys\n"
        "from isod.kernel.process import end_process\n"
        "from isod.model.reason import RefusedError\n"
        f"pidfd = os.pidfd_open({sleeper.pid})\n"
        f"os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\n"
        "try:\n"
        "    end_process(pidfd, gently=False)\n"
        "except RefusedError as error:\n"
        "    print(error.refusal.hint)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "CAP_KILL" in ran.stdout
    assert sleeper.poll() is None
