"""How long a client waits for isod, in numbers."""

from __future__ import annotations

import pytest

from isod.client.errors import ConnectionLost
from isod.client.reconnection import LONGEST_PAUSE, Reconnection

LOST = ConnectionLost("isod closed the connection")


def pauses(tries: Reconnection, now: float) -> list[float]:
    """All pauses until it gives up, each try taking no time."""
    found: list[float] = []
    with pytest.raises(ConnectionLost, match="did not come back"):
        while True:
            found.append(tries.pause(now, LOST))
            now += found[-1]
    return found


def test_the_first_try_is_at_once_and_pauses_grow_to_a_second() -> None:
    tries = Reconnection(30)
    tries.begin(100.0, asked=100.0)
    found = pauses(tries, 100.0)
    assert found[:4] == [0.0, 0.05, 0.1, 0.2]
    assert max(found) == LONGEST_PAUSE
    assert sum(found) == pytest.approx(30)


def test_a_connection_that_breaks_at_once_counts_on() -> None:
    tries = Reconnection(30)
    tries.begin(100.0, asked=100.0)
    assert [tries.pause(100.0, LOST) for _ in range(3)] == [0.0, 0.05, 0.1]
    tries.made(110.0)
    tries.begin(110.5, asked=110.5)
    assert tries.left(110.5) == 19.5
    assert tries.pause(110.5, LOST) == 0.2
    tries.made(111.0)
    tries.begin(120.0, asked=120.0)
    assert tries.left(120.0) == 30
    assert tries.pause(120.0, LOST) == 0.0


def test_who_waited_for_another_one_that_waited_in_vain_does_not_begin_anew() -> None:
    tries = Reconnection(30)
    tries.begin(100.0, asked=100.0)
    pauses(tries, 100.0)
    with pytest.raises(ConnectionLost, match="within 30 seconds"):
        tries.begin(130.1, asked=101.0)
    tries.begin(131.0, asked=131.0)
    assert tries.left(131.0) == 30
