"""Another policy while somebody waits: what it makes possible is given, what it forbids is told."""

from __future__ import annotations

import trio

from isod.model.policy import Policy, Quirk
from tests.unit.core.build import allow, exactly

from .door import Door, acquire, said

ALL = (allow(name="all"),)
FREE = Policy(ALL, 1)
JOINED = Policy(ALL, 2, quirks=(Quirk("bad", (exactly("01:00.1"), exactly("01:00.2"))),))
DENIED = Policy((), 3)


async def until_queued(newcomer: trio.socket.SocketType, number: int) -> None:
    """A newcomer is told that others wait: not before the waiter's request has arrived."""
    message = ""
    while not message.startswith("others wait"):
        await acquire(newcomer, number)
        message = (await said(newcomer))["error"]["message"]


async def wait_for_a_joined_group(door: Door, client: trio.socket.SocketType) -> None:
    """L1 has one of two groups that a quirk joins; the client waits for the other one."""
    door.give(0)
    with await door.connect() as holder, await door.connect() as newcomer:
        door.world.use_policy(FREE)
        await acquire(holder, 2)
        await said(holder)
        door.world.use_policy(JOINED)
        await acquire(client, 1, wait=3600)
        await until_queued(newcomer, 1)


async def test_who_waited_for_a_quirk_alone_is_served(door: Door) -> None:
    with await door.connect() as client:
        await wait_for_a_joined_group(door, client)
        door.world.use_policy(FREE)
        answer = await said(client)
    assert answer["result"]["lease"]["id"] == "L2"
    assert door.world.ledger.owner_of(2) is not None


async def test_whom_it_denies_is_told_at_once(door: Door) -> None:
    with await door.connect() as client:
        await wait_for_a_joined_group(door, client)
        door.world.use_policy(DENIED)
        answer = await said(client)
    assert answer["error"]["data"]["reason"] == "denied"
