"""The listening sockets, and a session for each connection that they take."""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import trio

from isod.core.accounts import Account
from isod.model.reason import Refusal, RefusedError
from isod.wire import jsonrpc

from .connections import Connections
from .gate import Gate
from .identify import identify, uid_of
from .session import Session

BACKLOG = 128
# A newcomer costs those who are connected up to half of that: between two of them, these have their
# turn. A full backlog keeps the last one waiting for a fifth of a second.
BETWEEN_SECONDS = 0.001
SO_PASSRIGHTS = 83  # Linux 6.16: refuses fds that clients send; accepted sockets inherit it
EVERYBODY = 0o666  # the policy is the gate
ROOT_ALONE = 0o600


def listen(path: Path, mode: int, handed: socket.socket | None) -> trio.socket.SocketType:
    """The socket that the service manager handed over, or a new one at ``path`` with ``mode``.

    The admin socket lies in a folder of its own that root alone may enter: a container that has
    the other socket mounted, and a root of its own, cannot reach it. A dead socket in the way is
    removed, a live one is not. Raises OSError.
    """
    listener = handed or socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if handed is None:
            folder_mode = 0o700 if mode == ROOT_ALONE else 0o755
            path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
            _remove_dead(path)
            former = os.umask(0o777 & ~mode)
            try:
                listener.bind(str(path))
            finally:
                os.umask(former)
            listener.listen(BACKLOG)
        with suppress(OSError):  # before 6.16 receiving without a control buffer drops them alone
            listener.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        return trio.socket.from_stdlib_socket(listener)
    except BaseException:
        listener.close()
        raise


def path_of(listener: trio.socket.SocketType) -> Path:
    """Where a socket lies, whoever made it."""
    return Path(os.fsdecode(listener.getsockname()))


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


async def accept(
    listener: trio.socket.SocketType, gate: Gate, connections: Connections, *, admin: bool
) -> None:
    """Serve every connection that there is room for, until cancelled."""
    async with trio.open_nursery() as nursery:
        while True:
            try:
                connection, _ = await listener.accept()
            except OSError:
                # Out of fds, or the peer left while waiting: others may still be served.
                await trio.sleep(0.1)
                continue
            plain: socket.socket = connection  # type: ignore[assignment]
            try:
                uid = uid_of(plain)
                account = connections.admit(uid)
            except OSError:
                connection.close()
            except RefusedError as error:
                _turn_away(connection, error.refusal)
            else:
                serve = partial(_serve, connection, uid, account, gate, connections)
                nursery.start_soon(partial(serve, admin=admin))
            await trio.sleep(BETWEEN_SECONDS)


async def _serve(
    connection: trio.socket.SocketType,
    uid: int,
    account: Account,
    gate: Gate,
    connections: Connections,
    *,
    admin: bool,
) -> None:
    """Who comes again and again waits here, and is looked up only then: it was counted first, and
    shall cost no more than that."""
    plain: socket.socket = connection  # type: ignore[assignment]
    try:
        with connection:
            await connections.wait(uid)
            try:
                who = identify(plain, account, admin=admin)
            except OSError:
                return
            with closing(who):
                session = Session(
                    connection, who, gate, lambda: gate.limits, partial(connections.turn, uid)
                )
                await session.run()
                await session.linger()
    finally:
        account.close()
        connections.left(uid)


def _turn_away(connection: trio.socket.SocketType, refusal: Refusal) -> None:
    """Say why, and close. A fresh connection has room for one packet; none is waited for."""
    with connection, suppress(OSError):
        os.write(connection.fileno(), jsonrpc.refusal(None, refusal))
