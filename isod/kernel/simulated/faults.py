"""Steps that fail or hang because a test said so.

A fault is a file in ``faults``, named after the step ("bind") or after step and device
("bind@0000:01:00.0"). It outlives whoever made it, as a broken device would.

Two more than steps: ``resetting`` is what a reset of a device ends with, whoever asks for it, and
a device that ``dies`` returns all ones once it was reset.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .failure import failure
from .tree import Tree, names_in, replace


def fail(
    directory: Path, step: str, device: str | None, error: int, times: int | None = None
) -> None:
    """Let a step end with this errno, every time or so many times."""
    replace(_path(directory, step, device), json.dumps({"errno": error, "times": times}))


def mend(directory: Path, step: str, device: str | None = None) -> None:
    """Take a fault away. What has died lives again."""
    _path(directory, step, device).unlink(missing_ok=True)
    tree = Tree(directory)
    kept = tree.faults / f"alive@{device}"
    if step == "dies" and kept.exists():
        (tree.devices / str(device) / "config").write_bytes(kept.read_bytes())
        kept.unlink()


@contextmanager
def hang(directory: Path, step: str, device: str | None = None) -> Iterator[None]:
    """Let a step wait until the context ends, or the process that made it does."""
    path = _path(directory, step, device)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.pwrite(descriptor, json.dumps({"errno": 0, "times": None}).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def check(tree: Tree, step: str, devices: Iterable[str]) -> None:
    """Wait for and raise what is wrong with a step on these devices. Raises OSError."""
    present = names_in(tree.faults)
    if not present:
        return
    for name in (step, *(f"{step}@{device}" for device in devices)):
        if name in present:
            _meet(tree.faults / name)


def _meet(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        fault = json.loads(os.read(descriptor, 4096))
    finally:
        os.close(descriptor)
    if fault["times"] is not None:
        if fault["times"] <= 1:
            path.unlink(missing_ok=True)
        else:
            replace(path, json.dumps(fault | {"times": fault["times"] - 1}))
    if fault["errno"]:
        raise failure(fault["errno"], "a simulated fault")


def reset_fault(tree: Tree, devices: Iterable[str]) -> int:
    """The errno that a reset of these devices ends with; 0: none."""
    try:
        check(tree, "resetting", devices)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def let_die(tree: Tree, device: str) -> None:
    """After a reset: a device that ``dies`` answers with all ones, until that is mended."""
    config = tree.devices / device / "config"
    if f"dies@{device}" in names_in(tree.faults) and config.exists():
        kept = tree.faults / f"alive@{device}"
        if not kept.exists():
            kept.write_bytes(config.read_bytes())
        config.write_bytes(b"\xff" * 64)


def _path(directory: Path, step: str, device: str | None) -> Path:
    return Tree(directory).faults / (step if device is None else f"{step}@{device}")
