"""How many may be connected, by user and in all."""

from __future__ import annotations

import pytest
import trio

from isod.core.accounts import Accounts
from isod.daemon.connections import Connections
from isod.model.policy import Limits
from isod.model.reason import Reason, RefusedError


class Log:
    """Remembers what was recorded."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        self.lines.append(f"{kind}: {message}")


def connections(log: Log | None = None, **limits: int) -> Connections:
    given = Limits(**limits)
    return Connections(Accounts(lambda: given), log or Log())


def refusal(connections: Connections, uid: int) -> str:
    with pytest.raises(RefusedError) as refused:
        connections.admit(uid)
    assert refused.value.refusal.reason is Reason.quota
    return refused.value.refusal.message


def test_one_user_has_a_share_and_others_have_theirs() -> None:
    book = connections(connections_per_uid=2)
    book.admit(1000)
    book.admit(1000)
    assert refusal(book, 1000) == "you have 2 connections, the most that one user may have"
    book.admit(1001)


def test_all_together_have_a_limit() -> None:
    book = connections(connections=2)
    book.admit(1000)
    book.admit(1001)
    assert refusal(book, 1002) == "there are 2 connections, the most that isod takes"


def test_who_leaves_makes_room() -> None:
    book = connections(connections=1)
    account = book.admit(1000)
    refusal(book, 1001)
    account.close()
    book.admit(1001)


def test_whoever_fills_one_socket_keeps_nobody_from_the_other() -> None:
    accounts = Accounts(lambda: Limits(connections=1, connections_per_uid=1))
    Connections(accounts, Log()).admit(0)
    admins = Connections(accounts, Log(), admin=True)
    admins.admit(0)
    assert refusal(admins, 0).startswith("you have 1 connections to the admin socket, the most")


def test_knocking_does_not_fill_the_log() -> None:
    log = Log()
    book = connections(log, connections_per_uid=1)
    account = book.admit(1000)
    for _ in range(100):
        refusal(book, 1000)
    assert log.lines == [
        "connection.refused: uid 1000 is turned away: you have 1 connections, "
        "the most that one user may have"
    ]
    account.close()
    book.left(1000)
    book.admit(1000)
    refusal(book, 1000)
    refusal(book, 1000)
    assert len(log.lines) == 2, "told again, for another time of scarcity"


async def test_one_user_with_many_connections_has_one_turn_in_a_round() -> None:
    book, others, rounds = connections(), 20, 100
    accounts = [book.admit(uid) for uid in [1000] * others + [1001]]
    log: list[int] = []

    async def act(uid: int) -> None:
        while True:
            await book.turn(uid)
            log.append(uid)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(others):
            nursery.start_soon(act, 1000)
        nursery.start_soon(act, 1001)
        for _ in range(rounds):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert log.count(1000) <= rounds + others, "they begin in one round"
    assert log.count(1001) >= rounds - 2
    for account in accounts:
        account.close()
