"""RLIMIT_MEMLOCK of other processes: recorded, so that no privilege is needed to play."""

from __future__ import annotations

import json
from pathlib import Path

from isod.model.step import Limit

from .host import Host
from .tree import replace, text

Pair = tuple[int, int]


def started(pid: int) -> int | None:
    """A process's start time (field 22 of its stat), None when it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(line.rpartition(")")[2].split()[19])


def recorded_limit(host: Host, pid: int) -> Pair | None:
    """The soft and hard limit that was set for this very process, in bytes (-1: unlimited)."""
    content = text(host.tree.limits / str(pid))
    if content is None:
        return None
    fields = json.loads(content)
    if fields["started"] != started(pid):
        return None
    return fields["soft"], fields["hard"]


def set_limit(host: Host, step: Limit) -> Pair | None:
    """Record a limit; returns the former one, None when the process is gone."""
    if started(step.pid) != step.started:
        return None
    former = recorded_limit(host, step.pid)
    if former is None:
        former = _real_limit(step.pid)
        if former is None:
            return None
    soft, hard = step.soft, step.hard
    if step.raise_only:
        soft, hard = _larger(soft, former[0]), _larger(hard, former[1])
    fields = {"started": step.started, "soft": soft, "hard": hard}
    replace(host.tree.limits / str(step.pid), json.dumps(fields))
    return former


def _real_limit(pid: int) -> Pair | None:
    """The process's own limit. Anybody may read it there; prlimit would need privilege."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = next(line for line in lines if line.startswith("Max locked memory")).split()
    soft, hard = (-1 if word == "unlimited" else int(word) for word in words[3:5])
    return soft, hard


def _larger(one: int, other: int) -> int:
    return -1 if -1 in (one, other) else max(one, other)
