"""How many may be connected, by user and in all."""

from __future__ import annotations

from isod.daemon.connections import Connections
from isod.model.policy import Limits
from isod.model.reason import Reason


class Log:
    """Remembers what was recorded."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        self.lines.append(f"{kind}: {message}")


def book(log: Log | None = None, **limits: int) -> Connections:
    given = Limits(**limits)
    return Connections(lambda: given, log or Log())


def test_one_user_has_a_share_and_others_have_theirs() -> None:
    connections = book(connections_per_uid=2)
    assert connections.admit(1000) is None
    assert connections.admit(1000) is None
    refusal = connections.admit(1000)
    assert refusal is not None
    assert refusal.reason is Reason.quota
    assert refusal.message == "you have 2 connections, the most that one user may have"
    assert connections.admit(1001) is None


def test_all_together_have_a_limit() -> None:
    connections = book(connections=2)
    assert connections.admit(1000) is None
    assert connections.admit(1001) is None
    refusal = connections.admit(1002)
    assert refusal is not None
    assert "the most that isod takes" in refusal.message


def test_who_leaves_makes_room() -> None:
    connections = book(connections=1)
    assert connections.admit(1000) is None
    assert connections.admit(1001) is not None
    connections.left(1000)
    assert connections.admit(1001) is None


def test_a_new_limit_holds_for_the_next_connection() -> None:
    limits = Limits(connections_per_uid=1)
    connections = Connections(lambda: limits, Log())
    assert connections.admit(1000) is None
    assert connections.admit(1000) is not None
    limits = Limits(connections_per_uid=2)
    assert connections.admit(1000) is None


def test_knocking_does_not_fill_the_log() -> None:
    log = Log()
    connections = book(log, connections_per_uid=1)
    connections.admit(1000)
    for _ in range(100):
        connections.admit(1000)
    assert log.lines == [
        "connection.refused: uid 1000 is turned away: you have 1 connections, "
        "the most that one user may have"
    ]
    connections.left(1000)
    connections.admit(1000)
    connections.admit(1000)
    assert len(log.lines) == 2, "told again, for another time of scarcity"
