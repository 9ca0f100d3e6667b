"""The one port to a kernel. ``linux`` and ``simulated`` live behind it.

Nothing here knows trio: calls are plain functions. Those marked *blocking* belong into a thread;
what may wait for a client runs in a helper process and is awaited by its file descriptor.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from isod.model.address import Address
from isod.model.critical import CriticalFacts
from isod.model.host import Device, Group, HostChange, HostSnapshot
from isod.model.lease import LeaseDevice
from isod.model.peer import Cgroup
from isod.model.step import GroupName, Step, StepResult, Use


class Pending(Protocol):
    """A step under way in a helper process."""

    def fileno(self) -> int:
        """Readable when the step has ended, one way or the other."""
        ...

    def finish(self) -> StepResult:
        """The step's result; call once, when ``fileno`` is readable. Raises RefusedError."""
        ...

    def abandon(self) -> None:
        """Stop waiting. The helper may stay in the kernel; nothing of ours stays with it."""
        ...


class Watch(Protocol):
    """News of devices and of closed files."""

    def filenos(self) -> tuple[int, ...]:
        """Wait until any of these is readable, then call ``read``."""
        ...

    def read(self) -> HostChange:
        """What has changed since the last call; does not block."""
        ...

    def watch_groups(self, groups: Collection[int]) -> None:
        """Report closes on the nodes of exactly these groups and their devices from now on, in
        ``HostChange.nodes`` as paths below /dev (say ``vfio/12``, ``vfio/devices/vfio3``)."""
        ...

    def close(self) -> None: ...


class CgroupWatch(Protocol):
    """News of cgroups: a trigger to ask ``Kernel.is_populated``, not an answer."""

    def fileno(self) -> int:
        """Wait until this is readable, then call ``read``."""
        ...

    def add(self, cgroup: Cgroup) -> None:
        """Watch a cgroup; one that cannot be watched has to be looked at now and then."""
        ...

    def remove(self, cgroup: Cgroup) -> None: ...

    def read(self) -> None:
        """Take note of what has changed since the last call; does not block."""
        ...

    def close(self) -> None: ...


class Kernel(Protocol):
    """A host's kernel, as far as isod needs it."""

    def snapshot(self, sequence: int) -> HostSnapshot:
        """Scan everything (blocking). Unreadable devices are left out, never guessed, and named in
        ``unread``. Raises UnreadableError when there is no picture to be had now."""
        ...

    def look(self, address: Address) -> Device | None:
        """Scan one device anew (blocking); None when it is gone. Raises UnreadableError, or OSError
        without a helper process, when that cannot be told: then nothing is known of it."""
        ...

    def look_group(self, number: int) -> Group | None:
        """Scan one group anew (blocking), say for a device that was hot-added; None when it is
        gone. Raises UnreadableError when that cannot be told."""
        ...

    def watch(self) -> Watch: ...

    def critical(self, devices: Collection[Device]) -> CriticalFacts:
        """What the host itself needs now of these devices, all of a snapshot's (blocking)."""
        ...

    def run(self, step: Step) -> StepResult:
        """Run one step that cannot wait for a client (blocking, bounded).

        Raises RefusedError with the reason, the message and ``errno``. On an error nothing that
        the step opened stays open; what it changed, its way back undoes.
        """
        ...

    def start(self, step: Step) -> Pending:
        """Begin a Fence in a helper process that inherits no fd of ours."""
        ...

    def use(self, devices: Collection[LeaseDevice], groups: Collection[GroupName]) -> Use:
        """The probes (blocking): ``enable`` is 0, and the group can be opened."""
        ...

    def cgroup_of(self, pid: int) -> Cgroup:
        """The cgroup that a process is in now; the caller holds its pidfd, and looks whether it
        lives afterwards. Raises RefusedError for one that no lease can be anchored in."""
        ...

    def is_populated(self, cgroup: Cgroup) -> bool:
        """Whether a process is in the cgroup or below; False when it is gone. Raises OSError when
        that cannot be told."""
        ...

    def watch_cgroups(self) -> CgroupWatch: ...

    def end_peer(self, peer: int | Cgroup, *, gently: bool) -> None:
        """Ask a process, by its pidfd, to end (SIGTERM), or end it (SIGKILL); a cgroup can only be
        ended, with all that is in it. Does not wait for it. Raises RefusedError."""
        ...

    def close(self) -> None:
        """Let go of helpers and fds."""
        ...
