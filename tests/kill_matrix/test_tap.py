"""What the matrix stands on: the tap counts what it should, and kills before the call is made."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .tap import Tap, Victim

_ROOT = Path(__file__).parents[2]
# Under the filter as a daemon is; it begins when it is told to.
_HEAD = f"""
import os, socket, sys, threading
sys.path.insert(0, {str(_ROOT)!r})
from tests.kill_matrix import seccomp
from tests.kill_matrix.syscalls import HANDED, program
line = socket.socket(fileno=os.dup2(0, HANDED, inheritable=False))
listener = seccomp.listen(program())
socket.send_fds(line, [b"."], [listener])
os.close(listener)
line.recv(1)
written = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
"""
OPENED = 1  # the first call of each
Play = Callable[..., tuple[Tap, bytes, int]]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Run a program under a tap: the tap, what it has written, and its exit code."""
    started: list[subprocess.Popen[bytes]] = []

    def run(body: str, kill_at: int = 0, victim: Victim = "daemon") -> tuple[Tap, bytes, int]:
        path = tmp_path / "written"
        path.touch()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near:
            with far:
                command = [sys.executable, "-B", "-c", _HEAD + body, str(path)]
                process = subprocess.Popen(command, stdin=far.fileno())
            started.append(process)
            _, [listener], _, _ = socket.recv_fds(near, 16, 1)
            tap = Tap(listener, process.pid)
            tap.arm(kill_at, victim)
            near.send(b".")
            code = process.wait(60)
        assert tap.ended(60)
        return tap, path.read_bytes(), code

    yield run
    for process in started:
        process.kill()
        process.wait()


FIVE = "for letter in b'abcde': os.write(written, bytes([letter]))"


def test_counts_to_the_end(play: Play) -> None:
    tap, written, code = play(FIVE)
    assert (written, code) == (b"abcde", 0)
    assert [point.call for point in tap.points] == ["openat", *["write"] * 5]
    assert tap.killed is None


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_kills_before_the_call_is_made(play: Play, number: int) -> None:
    tap, written, code = play(FIVE, OPENED + number)
    assert written == b"abcde"[: number - 1]
    assert code == -signal.SIGKILL
    assert tap.killed is not None
    assert tap.killed.number == OPENED + number


def test_what_stays_within_the_process_does_not_count(play: Play) -> None:
    body = """
open("/proc/self/status").read()
left, right = socket.socketpair()
left.send(b".")
thread = threading.Thread(target=int)
thread.start()
thread.join()
"""
    tap, _, code = play(body)
    assert code == 0
    assert len(tap.points) == OPENED, [str(point) for point in tap.points]


def test_counts_over_all_threads(play: Play) -> None:
    body = """
def write(): os.write(written, b"x")
for _ in range(3):
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
"""
    tap, written, _ = play(body, OPENED + 3)
    assert written == b"xx"
    assert [point.role for point in tap.points] == ["loop", "thread", "thread", "thread"]


HELPED = """
pid = os.fork()
if pid == 0:
    os.write(written, b"h")
    os.write(written, b"H")
    os._exit(0)
os.waitpid(pid, 0)
os.write(written, b"d")
"""


def test_a_helper_goes_on_without_its_daemon(play: Play) -> None:
    _, written, code = play(HELPED, OPENED + 3)  # open, fork, the helper's first
    assert (written, code) == (b"hH", -signal.SIGKILL)


def test_a_helper_is_killed_alone(play: Play) -> None:
    tap, written, code = play(HELPED, 2, "helper")
    assert (written, code) == (b"hd", 0)
    assert [point.role for point in tap.points] == ["helper", "helper"]


def test_both_are_killed(play: Play) -> None:
    _, written, code = play(HELPED, 2, "both")
    assert (written, code) == (b"h", -signal.SIGKILL)
