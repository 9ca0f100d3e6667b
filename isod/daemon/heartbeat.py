"""Signs of life for the service manager.

The watchdog is fed only with an answer that came the way every client's does: a packet through a
session, the gate and back. It comes over a connection of our own, which no flood of clients can
keep from being served other than by making the daemon too slow for all.
"""

from __future__ import annotations

import json
import socket

import trio

from isod import __version__
from isod.model.lease import State
from isod.model.peer import Peer
from isod.model.request import PACKET_BYTES, PROTOCOL

from . import service
from .gate import Gate
from .identify import Identity
from .session import Session
from .world import World

STATUS_SECONDS = 2.0


async def heartbeat(gate: Gate) -> None:
    """Feed the watchdog for as long as requests are answered; nothing to do without one."""
    interval = service.watchdog_seconds()
    if interval is None:
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    who = Identity(Peer(uid=0, gid=0, groups=frozenset(), pid=0))
    client = trio.socket.from_stdlib_socket(ours)
    with client, trio.socket.from_stdlib_socket(theirs) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Session(server, who, gate, lambda: gate.limits).run)
            while True:
                await _ask(client)
                service.alive()
                await trio.sleep(interval / 3)


async def _ask(client: trio.socket.SocketType) -> None:
    """Ask the lightest question, and wait for the answer for as long as it takes."""
    params = {"client": f"watchdog/{__version__}", "protocol": PROTOCOL}
    question = {"jsonrpc": "2.0", "id": 1, "method": "hello", "params": params}
    await client.send(json.dumps(question).encode())
    answer = json.loads(await client.recv(PACKET_BYTES))
    if "result" not in answer:
        raise RuntimeError(f"isod does not know itself: {answer}")


async def tell_status(world: World) -> None:
    """Keep the line of ``systemctl status`` current."""
    if not service.present():
        return
    told = ""
    while True:
        text = status_text(world)
        if text != told:
            service.status(text)
            told = text
        await trio.sleep(STATUS_SECONDS)


def status_text(world: World) -> str:
    """What is to be said in one line: leases by their state, and quarantined groups."""
    leases = list(world.ledger.leases.values())
    leased = sum(lease.state is State.leased for lease in leases)
    parts = [f"{leased} leased", f"{len(leases) - leased} beginning or ending"]
    if world.ledger.unknown is not None:
        parts.append("all quarantined")
    elif world.ledger.quarantined:
        parts.append(f"{len(world.ledger.quarantined)} quarantined")
    return ", ".join(parts)
