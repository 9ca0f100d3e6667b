"""The daemon put together: store, kernel, world, executor, sessions."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from isod.kernel.port import Kernel
from isod.kernel.tree import UnreadableError
from isod.model.host import HostSnapshot
from isod.model.method import METHODS
from isod.model.policy import Policy
from isod.model.reason import Reason, Refusal
from isod.policy import folder
from isod.policy.folder import PolicyError

from . import service
from .admin import Admin
from .admin_rights import AdminRights
from .ahead import Ahead
from .cgroups import Cgroups
from .connections import Connections
from .deliveries import Deliveries
from .executor import Executor
from .facts import Facts
from .foreign import Foreign
from .gate import Gate
from .heartbeat import heartbeat, tell_status
from .journal import Journal, open_journal
from .listen import EVERYBODY, ROOT_ALONE, accept, listen, path_of
from .needs import Needs
from .observer import Observer
from .peers import Peers
from .quarantine import take_up_quarantine
from .recover import recover
from .store import Store
from .surveys import Surveys
from .watcher import Watcher
from .world import World

# What is under way may end in this time; less than TimeoutStopSec= of the unit.
STOP_SECONDS = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is. ``lasting`` is the folder for what outlives a reboot (None: beside the
    leases, in ``state``), ``simulate`` that of a simulated host."""

    socket: Path
    admin_socket: Path
    state: Path
    policy: Sequence[Path]
    survey: Path
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


def simulated_home(place: Path) -> Path:
    """The directory of a simulated host. That of a capture lies beside it, and is made of it the
    first time. Raises OSError."""
    from isod.kernel.capture_file import CaptureError, is_capture  # noqa: PLC0415 - as below
    from isod.kernel.simulated.build import is_host  # noqa: PLC0415
    from isod.kernel.simulated.captured import load_capture  # noqa: PLC0415

    if not is_capture(place):
        return place
    home = place.with_name(f"{place.name}.host")
    if not is_host(home):
        try:
            load_capture(place, home)
        except CaptureError as error:
            raise OSError(str(error)) from error
    return home


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
    world = World(store, journal, await _first_look(kernel))
    world.policy = await trio.to_thread.run_sync(_load_policy, settings.policy, journal)
    watcher = Watcher(kernel, world)
    peers = Peers(kernel)
    handed = service.take_handed()
    with (
        closing(handed),
        closing(watcher),
        closing(peers),
        listen(settings.socket, EVERYBODY, handed.sockets.pop("isod.socket", None)) as listener,
        listen(
            settings.admin_socket, ROOT_ALONE, handed.sockets.pop("isod-admin.socket", None)
        ) as admins,
    ):
        # News from before this picture must not be lost: the watch began first, so look once more.
        world.replace_host(await _first_look(kernel))
        async with trio.open_nursery() as nursery:
            cgroups = Cgroups(kernel, world, nursery)
            deliveries = Deliveries(world, cgroups, nursery)
            needs, foreign = Needs(kernel, world, nursery), Foreign(kernel, world)
            executor = Executor(kernel, world, watcher, deliveries, peers, needs, nursery)
            world.carry_out = executor.carry_out
            admin = Admin(world, settings.policy, AdminRights(path_of(admins)), nursery)
            simulated = settings.simulate is not None
            surveys = Surveys(settings.survey, world)
            await surveys.look()
            gate = Gate(
                world,
                deliveries.outcomes,
                admin,
                needs,
                foreign,
                surveys,
                peers,
                holds=deliveries.holds,
                simulated=simulated,
            )
            observer = Observer(world, gate.resets)
            facts = Facts(world, needs, gate.resets)
            nursery.start_soon(watcher.run)
            nursery.start_soon(cgroups.run)
            nursery.start_soon(observer.run)
            take_up_quarantine(world, store)
            kept = store.kept.rows()
            recover(world, deliveries, peers, handed, kept)
            nursery.start_soon(facts.run)
            ahead = Ahead(kernel, world, executor, needs, gate.resets, nursery)
            ahead.recover(kept[0])
            for warning in await admin.let_in():
                journal.record("policy", warning)
            async with trio.open_nursery() as doors:
                for socket, is_admin in ((listener, False), (admins, True)):
                    connections = Connections(gate.accounts, journal, admin=is_admin)
                    doors.start_soon(partial(accept, socket, gate, connections, admin=is_admin))
                doors.start_soon(heartbeat, gate)
                doors.start_soon(tell_status, world)
                journal.record("daemon", f"listening on {settings.socket}")
                service.ready()
                if ready is not None:
                    ready.set()
                with trio.open_signal_receiver(*_SIGNALS) as signals:
                    await _until_stopped(signals, admin, gate)
                    service.stopping()
                    gate.stop()
                    ahead.stop()
                    # The doors stay open meanwhile: who waits for an operation gets its answer.
                    await _settle(signals, executor, gate)
                doors.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        journal.record("daemon", "stopped")


async def _first_look(kernel: Kernel) -> HostSnapshot:
    """The host's picture at the start. Raises OSError: without one there is nothing to begin with;
    what was leased stays as it is meanwhile."""
    try:
        return await trio.to_thread.run_sync(kernel.snapshot, 0)
    except UnreadableError as error:
        raise OSError(f"the devices cannot be looked at: {error}") from error


def _load_policy(folders: Sequence[Path], journal: Journal) -> Policy:
    """The policy, or one that allows nothing where it has a fault: isod still has to see leases of
    before to their end, so it does not refuse to start."""
    try:
        policy = folder.load(folders, number=1)
    except PolicyError as error:
        for problem in error.problems:
            journal.record("policy", f"not used, nothing will be granted: {problem}")
        return Policy(number=1, missing=True)
    for warning in policy.warnings:
        journal.record("policy", warning)
    return policy


async def _until_stopped(signals: AsyncIterator[int], admin: Admin, gate: Gate) -> None:
    """SIGHUP reads the policy anew; SIGTERM and SIGINT stop."""
    async for number in signals:
        if number != signal.SIGHUP:
            return
        gate.audit.signalled(METHODS["admin.reload"])
        service.reloading()
        await admin.reload_policy()
        service.ready()


async def _settle(signals: AsyncIterator[int], executor: Executor, gate: Gate) -> None:
    """Wait until what is under way has ended, until it took too long, or until asked again. What is
    stuck in a driver is not waited for: who asked for it is told, and the next start goes on."""

    async def cut_short(scope: trio.CancelScope) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                scope.cancel()

    with trio.move_on_after(STOP_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_short, nursery.cancel_scope)
            await executor.under_way.none_left()
            stopping = Refusal(
                Reason.stopping, "isod is stopping, and a driver keeps it waiting", {}
            )
            executor.deliveries.turn_away(executor.under_way.stuck, stopping)
            await gate.unanswered.none_left()
            nursery.cancel_scope.cancel()
