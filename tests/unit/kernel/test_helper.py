"""The helper processes, on a directory in which a FIFO stands for a write that waits."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isod.kernel import helper_process
from isod.kernel.helper import Helpers, StuckError, Write

_PATIENCE = 30.0


def test_a_write_lands(helpers: Helpers, sysfs: Path) -> None:
    path = "devices/one/driver_override"
    assert helpers.write([Write(path, "vfio-pci\n")], _PATIENCE) == [0]
    assert (sysfs / path).read_text() == "vfio-pci\n"
    assert helpers.read([path], _PATIENCE) == {path: (0, "vfio-pci\n")}


def test_no_writes_are_done_at_once(helpers: Helpers) -> None:
    assert helpers.write([], _PATIENCE) == []


def test_errors_come_one_by_one(helpers: Helpers, sysfs: Path) -> None:
    path = "devices/one/driver_override"
    inode = (sysfs / "devices/one").stat().st_ino
    writes = [
        Write("devices/two/driver_override", "x"),
        Write(path, "right", inode),
        Write(path, "wrong", inode + 1),
    ]
    assert helpers.write(writes, _PATIENCE) == [errno.ENOENT, 0, errno.ESTALE]
    # No truncation here as in sysfs: only the second one wrote.
    assert (sysfs / path).read_text().startswith("right")


def test_a_path_cannot_smuggle_a_second_request(helpers: Helpers) -> None:
    with pytest.raises(OSError, match="not a path"):
        helpers.write([Write("x\nwrite\tunbind", "x")], _PATIENCE)


def test_a_stuck_write_is_abandoned_and_the_next_one_goes_on(helpers: Helpers, sysfs: Path) -> None:
    with pytest.raises(StuckError):
        helpers.write([Write("devices/one/unbind", "x")], 0.2)
    path = "devices/one/driver_override"
    assert helpers.write([Write(path, "next")], _PATIENCE) == [0]
    # The FIFO gets its reader, and the abandoned write returns.
    descriptor = os.open(sysfs / "devices/one/unbind", os.O_RDONLY)
    assert os.read(descriptor, 10) == b"x"
    os.close(descriptor)


def test_a_stuck_read_is_told_and_the_others_are_read(helpers: Helpers, sysfs: Path) -> None:
    for name in ("two", "three"):
        (sysfs / "devices" / name).mkdir()
    os.mkfifo(sysfs / "devices/two/driver_override")
    (sysfs / "devices/three/driver_override").write_text("e1000e\n")
    paths = [f"devices/{name}/driver_override" for name in ("one", "two", "three", "four")]
    assert helpers.read(paths, 1.0) == {
        paths[0]: (0, "(null)\n"),
        paths[1]: None,
        paths[2]: (0, "e1000e\n"),
        paths[3]: (errno.ENOENT, ""),
    }
    # The abandoned reader goes on its way.
    os.close(os.open(sysfs / "devices/two/driver_override", os.O_WRONLY))


def test_a_pending_write_becomes_readable(helpers: Helpers, sysfs: Path) -> None:
    pending = helpers.start([Write("devices/one/unbind", "x")])
    assert not select.select([pending], [], [], 0.2)[0]
    descriptor = os.open(sysfs / "devices/one/unbind", os.O_RDONLY)
    assert select.select([pending], [], [], _PATIENCE)[0]
    assert pending.finish() == [0]
    os.close(descriptor)
    with pytest.raises(ValueError, match="finished"):
        pending.fileno()


def test_a_healthy_process_is_used_again(helpers: Helpers) -> None:
    pids = set()
    for _ in range(3):
        pending = helpers.start([])
        pids.add(pending.pid)
        pending.finish()
    assert len(pids) == 1


def test_a_killed_process_proves_nothing(helpers: Helpers) -> None:
    pending = helpers.start([Write("devices/one/unbind", "x")])
    os.kill(pending.pid, 9)
    assert select.select([pending], [], [], _PATIENCE)[0]
    with pytest.raises(OSError, match="ended"):
        pending.finish()
    assert helpers.write([], _PATIENCE) == []


def test_an_idle_process_that_died_is_replaced(helpers: Helpers) -> None:
    pending = helpers.start([])
    pending.finish()
    os.kill(pending.pid, 9)
    os.waitid(os.P_PID, pending.pid, os.WEXITED | os.WNOWAIT)
    assert helpers.write([], _PATIENCE) == []


@pytest.mark.parametrize(("kills", "answer"), [(1, [0]), (2, errno.EPIPE)])
def test_what_a_killed_process_left_another_does(
    helpers: Helpers, sysfs: Path, kills: int, answer: object
) -> None:
    """Once: what kills the second, too, is told."""
    both = [helpers.start([]), helpers.start([])]
    idle = {pending.pid for pending in both}
    for pending in both:
        pending.finish()
    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(helpers.write, [Write("devices/one/unbind", "x")], _PATIENCE)
        for _ in range(kills):
            busy = one_that_waits(idle)
            os.kill(busy, 9)
            idle.discard(busy)
        if kills == 1:
            reader = os.open(sysfs / "devices/one/unbind", os.O_RDONLY | os.O_NONBLOCK)
            assert written.result() == answer
            assert os.read(reader, 10) == b"x"
            os.close(reader)
        else:
            with pytest.raises(OSError, match="ended") as raised:
                written.result()
            assert raised.value.errno == answer


def one_that_waits(pids: set[int]) -> int:
    """The process that waits for somebody at the FIFO's other end (fs/pipe.c)."""
    while True:
        for pid in pids:
            if "wait_for_partner" in Path(f"/proc/{pid}/wchan").read_text():
                return pid


def test_it_ends_with_its_daemon(sysfs: Path) -> None:
    program = (
        "import sys, os; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from isod.kernel.helper import *\n"
        "helpers = Helpers(Path(sys.argv[1]))\n"
        "print(helpers.start([Write('devices/one/unbind', 'x')]).pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    project = str(Path(helper_process.__file__).parents[2])
    command = [sys.executable, "-c", program, str(sysfs), project]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
    ended = os.pidfd_open(pid)
    assert not select.select([ended], [], [], 0.2)[0]
    os.close(os.open(sysfs / "devices/one/unbind", os.O_RDONLY))
    assert select.select([ended], [], [], _PATIENCE)[0]
    os.close(ended)
