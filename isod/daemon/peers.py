"""Who is behind a lease, named so that it can be ended: by a pidfd, or by its cgroup."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from isod.kernel.port import Kernel
from isod.kernel.process import is_alive, open_process
from isod.model.event import PeerEnded, PeerNotEnded
from isod.model.lease import Lease
from isod.model.peer import Cgroup
from isod.model.reason import Reason, Refusal, RefusedError

from .identify import Identity

PATIENCE_SECONDS = 5.0


class Peers:
    """Owns a pidfd for each lease whose rule ends its peer, for as long as the lease lives: no
    other process can come to be meant, however long ago the first one ended."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._pidfds: dict[str, int] = {}

    def cgroup_of(self, who: Identity) -> Cgroup:
        """The cgroup that a peer is in now. Raises RefusedError if it cannot be named safely."""
        if not who.peer.verified:
            raise RefusedError(
                Reason.unsupported,
                "this kernel cannot name the peer's process safely, so neither its cgroup",
                hint="Linux 6.5 or later can (SO_PEERPIDFD); ask for another anchor",
            )
        cgroup = self._kernel.cgroup_of(who.peer.pid)
        # Read first, then look whether the process still is: so what was read is its own.
        if who.pidfd < 0 or not is_alive(who.pidfd):
            raise RefusedError(Reason.gone, "your process is gone")
        return cgroup

    def keep(self, lease: Lease, who: Identity) -> None:
        """Keep a way to end the peer, if the lease may need it. Without one (a copy cannot be had
        when fds have run out) it is found again, by pid and start time, when it is needed."""
        if _ends_process(lease) and who.peer.verified and who.pidfd >= 0:
            with suppress(OSError):
                self._pidfds[lease.id] = os.dup(who.pidfd)

    def recover(self, lease: Lease) -> None:
        """After a restart: the process that had this pid and start time, if it is still there."""
        if _ends_process(lease) and lease.owner.started:
            with suppress(RefusedError, OSError):
                self._pidfds[lease.id] = open_process(lease.owner.pid, lease.owner.started)

    def forget(self, lease: str) -> None:
        """The lease is over."""
        if (pidfd := self._pidfds.pop(lease, None)) is not None:
            os.close(pidfd)

    async def end(self, lease: Lease) -> PeerEnded | PeerNotEnded:
        """End whoever has the lease, and say what came of it."""
        try:
            if lease.cgroup is not None:
                await self._run(partial(self._kernel.end_peer, lease.cgroup, gently=False))
                return PeerEnded(lease.id, f"all of {lease.cgroup.path}, by SIGKILL")
            return PeerEnded(lease.id, await self._end_process(lease))
        except RefusedError as error:
            return PeerNotEnded(lease.id, error.refusal)
        except OSError as error:
            what = f"process {lease.owner.pid} cannot be named: {error.strerror}"
            refusal = Refusal(Reason.kernel, what, {"errno": error.errno})
            return PeerNotEnded(lease.id, refusal)

    async def _end_process(self, lease: Lease) -> str:
        """SIGTERM first: the owner was asked by an event, but a program that knows nothing of
        isod, as QEMU, understands nothing else, and closes its disks properly on it. What has not
        ended after that gets SIGKILL, which nothing can ignore."""
        pid = lease.owner.pid
        pidfd = self._own_pidfd(lease)
        try:
            if not is_alive(pidfd):
                what = f"process {pid} is gone; what it passed on is open still"
                raise RefusedError(Reason.gone, what)
            for gently, name in ((True, "SIGTERM"), (False, "SIGKILL")):
                await self._run(partial(self._kernel.end_peer, pidfd, gently=gently))
                with trio.move_on_after(PATIENCE_SECONDS):
                    await trio.lowlevel.wait_readable(pidfd)
                if not is_alive(pidfd):
                    return f"process {pid}, by {name}"
        finally:
            os.close(pidfd)
        raise RefusedError(Reason.kernel, f"process {pid} got SIGKILL and has not ended yet")

    def _own_pidfd(self, lease: Lease) -> int:
        """A copy, since the lease may end meanwhile. Raises RefusedError, OSError."""
        kept = self._pidfds.get(lease.id)
        if kept is not None:
            return os.dup(kept)
        if not lease.owner.started:
            raise RefusedError(
                Reason.unsupported, "this kernel cannot name the peer's process safely"
            )
        return open_process(lease.owner.pid, lease.owner.started)

    @staticmethod
    async def _run(act: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(act)

    def close(self) -> None:
        """Let go of all; the leases stay."""
        for lease in list(self._pidfds):
            self.forget(lease)


def _ends_process(lease: Lease) -> bool:
    return lease.terms.revoke.then == "kill" and lease.anchor != "cgroup"
