"""A process full of clients: ``python -m tests.soak.crowd SOCKET OWNERS UID CLIENTS SEED``.

Each second it prints what its clients have done since the last line, as JSON. A line on standard
input: all clients end as a process does, and it says so; at the next line they begin anew.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from random import Random

import trio

from .actor import Actor, Place
from .owners import LockNumbers

_TELL_SECONDS = 1.0


async def crowd(place: Place, clients: int, random: Random) -> None:
    numbers = LockNumbers()
    counts: Counter[str] = Counter()
    orders = trio.lowlevel.FdStream(os.dup(0))

    async def tell() -> None:
        while True:
            await trio.sleep(_TELL_SECONDS)
            say(counts)

    async with orders:
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tell)
                for _ in range(clients):
                    actor = Actor(place, numbers, Random(random.randrange(1 << 62)), counts)
                    nursery.start_soon(actor.live)
                if not await orders.receive_some(1):
                    return
                nursery.cancel_scope.cancel()
            say(counts)
            tell_line("resting")
            if not await orders.receive_some(1):
                return


def say(counts: Counter[str]) -> None:
    """Tell it and begin at zero."""
    tell_line(counts)
    counts.clear()


def tell_line(said: object) -> None:
    """In one piece, whatever the interpreter buffers."""
    os.write(1, json.dumps(said).encode() + b"\n")


def main() -> None:
    socket, owners, uid, clients, seed = sys.argv[1:]
    os.umask(0)  # every user locks every file
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    trio.run(crowd, Place(Path(socket), Path(owners)), int(clients), Random(seed))


if __name__ == "__main__":
    main()
