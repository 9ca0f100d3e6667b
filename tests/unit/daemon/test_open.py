"""Fresh fds of one's own lease: not of one that is to be let go, or that is not isolated."""

from __future__ import annotations

from typing import Any

import trio

from isod.model.event import Conflict, Event, Prepared, Revoke
from isod.model.lease import State

from .door import Door, acquire, ask, said


async def leased(door: Door, *numbers: int) -> trio.socket.SocketType:
    """Who has a lease of each of these devices: L1, L2, …"""
    door.limit()
    door.give(0)
    client = await door.connect()
    for number in numbers:
        await acquire(client, number)
        await said(client)
    for lease in tuple(door.world.ledger.leases.values()):
        door.world.apply(Prepared(lease.id, (), lease.devices))
    return client


async def refused(door: Door, client: trio.socket.SocketType, event: Event) -> dict[str, Any]:
    """What the error of lease.open says of L1, after an event."""
    door.world.apply(event)
    lease = door.world.ledger.leases["L1"]
    await ask(client, 9, "lease.open", lease=lease.id, secret=lease.secret)
    answer = await said(client)
    assert door.world.ledger.leases["L1"].state is State.leased, "it was opened"
    error: dict[str, Any] = answer["error"]
    return error


async def test_a_lease_that_is_asked_back_gets_nothing_more(door: Door) -> None:
    with await leased(door, 1) as client:
        error = await refused(door, client, Revoke("L1", "the machine is needed"))
    assert error["message"] == "lease L1 is being taken back: the machine is needed"
    assert error["data"]["reason"] == "terms"
    assert error["data"]["term"] == "revoke"
    assert "release it" in error["data"]["hint"]


async def test_a_lease_that_is_not_isolated_gets_nothing_more(door: Door) -> None:
    with await leased(door, 1, 2) as client:
        error = await refused(door, client, Conflict(("L1", "L2"), "groups 1 and 2 hang together"))
    assert error["message"].endswith("with another lease: groups 1 and 2 hang together")
    assert error["data"]["reason"] == "group_busy"
    assert "when the other lease has ended" in error["data"]["hint"]
