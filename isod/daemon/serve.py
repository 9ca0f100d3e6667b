"""The daemon put together: store, kernel, world, executor, sessions."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from isod.kernel.port import Kernel
from isod.model.event import Recovered
from isod.model.policy import Policy
from isod.policy import folder
from isod.policy.folder import PolicyError

from . import service
from .admin import Admin
from .admin_rights import AdminRights
from .connections import Connections
from .executor import Executor
from .gate import Gate
from .journal import Journal, open_journal
from .listen import EVERYBODY, ROOT_ALONE, accept, listen, path_of
from .needs import Needs
from .quarantine import carry_groups_over, record_exchanged
from .store import Store
from .watcher import Watcher
from .world import World


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is. ``lasting`` is the folder for what outlives a reboot (None: beside the
    leases, in ``state``), ``simulate`` that of a simulated host."""

    socket: Path
    admin_socket: Path
    state: Path
    policy: Sequence[Path]
    simulate: Path | None = None
    lasting: Path | None = None


async def serve(settings: Settings, *, ready: trio.Event | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises StoreError, OSError (the socket)."""
    journal = open_journal()
    store = Store(settings.state, settings.lasting)
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
    handed = service.listening_sockets()
    with (
        closing(watcher),
        listen(settings.socket, EVERYBODY, handed.get("isod.socket")) as listener,
        listen(settings.admin_socket, ROOT_ALONE, handed.get("isod-admin.socket")) as admins,
    ):
        # News from before this picture must not be lost: the watch began first, so look once more.
        world.replace_host(await trio.to_thread.run_sync(kernel.snapshot, 0))
        async with trio.open_nursery() as nursery:
            executor = Executor(kernel, world, watcher, nursery)
            world.carry_out = executor.carry_out
            admin = Admin(world, settings.policy, AdminRights(path_of(admins)), nursery)
            needs = Needs(kernel, world, nursery)
            simulated = settings.simulate is not None
            gate = Gate(world, executor.outcomes, admin, needs, simulated=simulated)
            nursery.start_soon(watcher.run)
            carry_groups_over(world, store)
            record_exchanged(world)
            for lease in store.leases():
                world.apply(Recovered(lease, held=False))
            for warning in await admin.let_in():
                journal.record("policy", warning)
            # Counted apart: whoever fills one socket keeps nobody from the other.
            for socket, is_admin in ((listener, False), (admins, True)):
                connections = Connections(lambda: world.policy.limits, journal)
                nursery.start_soon(partial(accept, socket, gate, connections, admin=is_admin))
            nursery.start_soon(_heed_signals, admin, nursery.cancel_scope)
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
        policy = folder.load(folders, number=1)
    except PolicyError as error:
        for problem in error.problems:
            journal.record("policy", f"not used, nothing will be granted: {problem}")
        return Policy(number=1)
    for warning in policy.warnings:
        journal.record("policy", warning)
    return policy


async def _heed_signals(admin: Admin, scope: trio.CancelScope) -> None:
    """SIGHUP reads the policy anew; SIGTERM and SIGINT stop."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number != signal.SIGHUP:
                scope.cancel()
                return
            await admin.reload_policy()
