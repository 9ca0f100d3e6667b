"""The resets that devices have seen, on record so that tests and demos can tell a scrubbed one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from .faults import let_die
from .host import Host

Kind = Literal["function", "hot"]
Cause = Literal["open", "close", "ioctl", "sysfs"]


@dataclass(frozen=True, slots=True)
class ResetSeen:
    """One reset of one function, and who asked for it."""

    kind: str
    device: str
    cause: str


def log_reset(host: Host, kind: Kind, device: str, cause: Cause) -> None:
    """Let a device be reset. Anybody's ioctl may cause it, so anybody may write the record."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(host.tree.resets, flags)
    try:
        os.write(descriptor, f"{kind} {device} {cause}\n".encode())
    finally:
        os.close(descriptor)
    let_die(host.tree, device)


def resets_seen(host: Host) -> list[ResetSeen]:
    """All resets so far, oldest first."""
    return [ResetSeen(*line.split()) for line in host.tree.resets.read_text().splitlines()]
