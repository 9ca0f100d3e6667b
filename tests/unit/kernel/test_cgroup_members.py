"""Ending what is in a cgroup one by one, on trees of plain files; the lab has real ones."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isod.kernel.linux import cgroup_members
from isod.kernel.linux.cgroup_members import end_members
from isod.kernel.process import end_process
from isod.model.reason import RefusedError


@pytest.fixture
def start() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a process that lives until the test is over."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "3600"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def put(place: Path, *processes: subprocess.Popen[bytes]) -> None:
    place.mkdir(exist_ok=True, parents=True)
    lines = [f"{process.pid}\n" for process in processes]
    (place / "cgroup.procs").write_text("".join(lines))


def was_killed(process: subprocess.Popen[bytes]) -> bool:
    return process.wait(10) == -signal.SIGKILL


Start = Callable[[], subprocess.Popen[bytes]]


def test_ends_what_is_in_it_and_below(tmp_path: Path, directory: int, start: Start) -> None:
    above, below, deep, other = start(), start(), start(), start()
    put(tmp_path, above)
    put(tmp_path / "one", below)
    put(tmp_path / "one/two/three", deep)
    end_members(directory)
    assert all(was_killed(process) for process in (above, below, deep))
    assert other.poll() is None


def test_ends_more_than_it_has_fds_for(
    tmp_path: Path, directory: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup_members, "BATCH", 2)
    many = [start() for _ in range(5)]
    put(tmp_path, *many)
    before = len(list(Path("/proc/self/fd").iterdir()))
    end_members(directory)
    assert all(was_killed(process) for process in many)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_whoever_is_gone_or_has_no_pid_here_is_left_out(
    tmp_path: Path, directory: int, start: Start
) -> None:
    gone, there = start(), start()
    gone.kill()
    gone.wait()
    (tmp_path / "cgroup.procs").write_text(f"0\n{gone.pid}\n{there.pid}\n")
    (tmp_path / "empty").mkdir()  # a cgroup that is being removed has no files any more
    end_members(directory)
    assert was_killed(there)


def test_a_pid_that_is_not_listed_any_more_is_somebody_else(
    tmp_path: Path, directory: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given to another process before it was named."""
    innocent = start()
    put(tmp_path, innocent)

    def name(pid: int) -> int:
        put(tmp_path)
        return pidfd_open(pid)

    pidfd_open = os.pidfd_open
    monkeypatch.setattr(os, "pidfd_open", name)
    end_members(directory)
    assert innocent.poll() is None


def test_what_is_forked_meanwhile_is_ended_too(
    tmp_path: Path, directory: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, children = start(), [start(), start()]
    put(tmp_path, parent)
    waiting = list(children)
    fork_when_one_is_ended(tmp_path, lambda: waiting.pop() if waiting else None, monkeypatch)
    end_members(directory)
    assert all(was_killed(process) for process in (parent, *children))


def test_one_that_forks_faster_than_it_is_ended_is_given_up(
    tmp_path: Path, directory: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup_members, "ROUNDS", 3)
    put(tmp_path, start())
    fork_when_one_is_ended(tmp_path, start, monkeypatch)
    with pytest.raises(RefusedError, match="forks faster"):
        end_members(directory)


def fork_when_one_is_ended(
    place: Path,
    fork: Callable[[], subprocess.Popen[bytes] | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(pidfd: int, *, gently: bool) -> None:
        if (child := fork()) is not None:
            put(place, child)
        end_process(pidfd, gently=gently)

    monkeypatch.setattr(cgroup_members, "end_process", end)
