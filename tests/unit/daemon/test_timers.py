"""A lease's timer says once that its time is over, and not at all when it is stopped."""

from __future__ import annotations

import trio

from isod.daemon.timers import Timers
from isod.model.event import Deadline


async def test_it_says_when_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    said: list[tuple[float, Deadline]] = []
    async with trio.open_nursery() as nursery:
        timers = Timers(lambda event: said.append((trio.current_time(), event)), nursery)
        begun = trio.current_time()
        timers.start("L1", 30)
        timers.start("L2", 10)
    assert [(when - begun, event.lease) for when, event in said] == [(10, "L2"), (30, "L1")]


async def test_a_stopped_one_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    said: list[Deadline] = []
    async with trio.open_nursery() as nursery:
        timers = Timers(said.append, nursery)
        timers.start("L1", 30)
        await trio.sleep(29)
        timers.stop("L1")
        timers.stop("L1")
    assert said == []


async def test_one_that_begins_anew_replaces_the_former(
    autojump_clock: trio.testing.MockClock,
) -> None:
    said: list[Deadline] = []
    async with trio.open_nursery() as nursery:
        timers = Timers(said.append, nursery)
        begun = trio.current_time()
        timers.start("L1", 10)
        await trio.sleep(5)
        timers.start("L1", 10)
    assert (trio.current_time() - begun, len(said)) == (15, 1)
