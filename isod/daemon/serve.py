"""The daemon put together: store, kernel, world, executor, sessions."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from isod.kernel.port import Kernel
from isod.model.event import Recovered
from isod.model.policy import Policy

from . import policy_folder, service
from .executor import Executor
from .gate import Gate
from .identify import Identity, identify
from .journal import Journal, open_journal
from .policy_folder import PolicyError
from .session import Session
from .store import Store
from .watcher import Watcher
from .world import World

BACKLOG = 128
SO_PASSRIGHTS = 83  # Linux 6.16: refuses fds that clients send; accepted sockets inherit it


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is. ``simulate`` is the folder of a simulated host."""

    socket: Path
    state: Path
    policy: Sequence[Path]
    simulate: Path | None = None


async def serve(settings: Settings, *, ready: trio.Event | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises StoreError, OSError (the socket)."""
    journal = open_journal()
    store = Store(settings.state)
    try:
        kernel = _kernel(settings)
        try:
            await _run(settings, journal, store, kernel, ready)
        finally:
            kernel.close()
    finally:
        store.close()


def _kernel(settings: Settings) -> Kernel:
    """The one place that knows which kernel lives behind the port."""
    if settings.simulate is not None:
        from isod.kernel.simulated import open_host  # noqa: PLC0415 - the other one is not needed

        return open_host(settings.simulate)
    from isod.kernel.linux import LinuxKernel  # noqa: PLC0415

    return LinuxKernel()


async def _run(
    settings: Settings,
    journal: Journal,
    store: Store,
    kernel: Kernel,
    ready: trio.Event | None,
) -> None:
    snapshot = await trio.to_thread.run_sync(kernel.snapshot, 0)
    world = World(store, journal, snapshot)
    world.policy = await trio.to_thread.run_sync(_load_policy, settings.policy, journal)
    watcher = Watcher(kernel, world)
    with closing(watcher), _listen(settings.socket) as listener:
        # News from before this picture must not be lost: the watch began first, so look once more.
        world.replace_host(await trio.to_thread.run_sync(kernel.snapshot, 0))
        async with trio.open_nursery() as nursery:
            executor = Executor(kernel, world, watcher, nursery)
            world.carry_out = executor.carry_out
            gate = Gate(world, executor.outcomes, simulated=settings.simulate is not None)
            nursery.start_soon(watcher.run)
            for lease in store.leases():
                world.apply(Recovered(lease, held=False))
            nursery.start_soon(_accept, listener, gate)
            nursery.start_soon(_stop_at_signal, nursery.cancel_scope)
            journal.record("daemon", f"listening on {settings.socket}")
            service.ready()
            if ready is not None:
                ready.set()
        service.stopping()
        journal.record("daemon", "stopped")


def _load_policy(folders: Sequence[Path], journal: Journal) -> Policy:
    """The policy, or one that allows nothing where it has a fault: isod still has to see leases of
    before to their end, so it does not refuse to start."""
    try:
        policy = policy_folder.load(folders, number=1)
    except PolicyError as error:
        for problem in error.problems:
            journal.record("policy", f"not used, nothing will be granted: {problem}")
        return Policy(number=1)
    for warning in policy.warnings:
        journal.record("policy", warning)
    return policy


async def _stop_at_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _listen(path: Path) -> trio.socket.SocketType:
    """The listening socket: handed by the service manager, or a new one at ``path`` (0666: the
    policy is the gate). A dead socket in the way is removed, a live one is not."""
    handed = service.listening_socket()
    listener = handed or socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if handed is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_dead(path)
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen(BACKLOG)
        with suppress(OSError):  # before 6.16 receiving without a control buffer drops them alone
            listener.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        return trio.socket.from_stdlib_socket(listener)
    except BaseException:
        listener.close()
        raise


def _remove_dead(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise FileExistsError(f"{path}: another isod listens there")


async def _accept(listener: trio.socket.SocketType, gate: Gate) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            try:
                connection, _ = await listener.accept()
            except OSError:
                # Out of fds, or the peer left while waiting: others may still be served.
                await trio.sleep(0.1)
                continue
            try:
                who = identify(connection)  # type: ignore[arg-type]
            except OSError:
                connection.close()
                continue
            nursery.start_soon(partial(_session, connection, who, gate))


async def _session(connection: trio.socket.SocketType, who: Identity, gate: Gate) -> None:
    try:
        with connection:
            await Session(connection, who, gate).run()
    finally:
        who.close()
