"""Waiting for udev: it sets rights on a node after the kernel's event, over anybody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from time import monotonic, sleep

_SECONDS = 5.0
_PAUSE_SECONDS = 0.01


def wait_for_udev(root: Path, nodes: list[str], seconds: float = _SECONDS) -> bool:
    """Wait until udev has handled nodes (paths below /dev), a time at most; True when it has, or
    when there is no udev.

    It has when its queue is empty (``/run/udev/queue`` is there while it is not) and its record of
    the node (``/run/udev/data/cMAJOR:MINOR``, written after the rights) is no older than the node:
    the queue alone misses events that udev has not taken up yet.
    """
    if not (root / "run/udev/control").exists():
        return True
    deadline = monotonic() + seconds
    while not _settled(root, nodes):
        if monotonic() > deadline:
            return False
        sleep(_PAUSE_SECONDS)
    return True


def _settled(root: Path, nodes: list[str]) -> bool:
    if (root / "run/udev/queue").exists():
        return False
    return all(_handled(root, root / "dev" / node) for node in nodes)


def _handled(root: Path, node: Path) -> bool:
    try:
        found = node.stat(follow_symlinks=False)
        if not stat.S_ISCHR(found.st_mode):
            return True
        number = f"c{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        return (root / "run/udev/data" / number).stat().st_mtime_ns >= found.st_mtime_ns
    except FileNotFoundError:
        return not node.exists()
