"""The host that a policy is tried out on: this one, a simulated one, or a captured one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from isod.kernel.capture_file import CaptureError, is_capture
from isod.kernel.linux import LinuxKernel
from isod.kernel.port import Kernel
from isod.kernel.simulated import open_host
from isod.kernel.simulated.build import build, is_host
from isod.kernel.simulated.captured import load_capture
from isod.kernel.simulated.hosts import HOSTS
from isod.kernel.simulated.servers import SERVERS
from isod.kernel.tree import UnreadableError
from isod.model.critical import CriticalFacts
from isod.model.host import HostSnapshot

LIVE = "live"
SIMULATED = "simulated:"


class NoHostError(Exception):
    """There is no such host."""


@dataclass(frozen=True, slots=True)
class SeenHost:
    """A host as it is at one moment, and what it needs itself."""

    snapshot: HostSnapshot
    facts: CriticalFacts


def see_host(name: str, base: Path = Path()) -> SeenHost:
    """Look at a host (blocking): ``live``, ``simulated:NAME``, or the path (from ``base``) of a
    simulated or captured one, which is left as it is. Raises NoHostError."""
    with ExitStack() as stack:
        kernel = stack.enter_context(closing(stack.enter_context(_kernel(name, base))))
        try:
            snapshot = kernel.snapshot(1)
        except UnreadableError as error:
            raise NoHostError(f"{name}: {error}") from error
        return SeenHost(snapshot, kernel.critical(tuple(snapshot.devices.values())))


@contextmanager
def _kernel(name: str, base: Path) -> Iterator[Kernel]:
    if name == LIVE:
        yield LinuxKernel()
        return
    with tempfile.TemporaryDirectory(prefix="isod-host-") as folder:
        place = Path(folder) / "host"
        if name.startswith(SIMULATED):
            hosts = {**HOSTS, **SERVERS}
            known = hosts.get(name.removeprefix(SIMULATED))
            if known is None:
                raise NoHostError(f"{name}: there are {', '.join(SIMULATED + n for n in hosts)}")
            build(place, known)
        elif is_host(base / name):
            place = base / name
        elif is_capture(base / name):
            try:
                load_capture(base / name, place)
            except (CaptureError, OSError) as error:
                raise NoHostError(f"{name}: {error}") from error
        else:
            raise NoHostError(f"{name}: holds no host")
        yield open_host(place)
