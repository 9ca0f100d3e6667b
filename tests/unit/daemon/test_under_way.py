"""What a stop waits for: what has begun, but for what a driver keeps from coming back."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from isod.daemon.under_way import PATIENCE_SECONDS, UnderWay


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    return autojump_clock


async def waited(under_way: UnderWay) -> float:
    began = trio.current_time()
    await under_way.none_left()
    return trio.current_time() - began


async def operation(under_way: UnderWay, seconds: float) -> None:
    with under_way:
        await trio.sleep(seconds)


async def stuck(under_way: UnderWay, before: float = 0.0) -> None:
    with under_way:
        await trio.sleep(before)
        with under_way.helped("L1"):
            await trio.sleep_forever()


async def test_what_runs_is_waited_for(clock: MockClock, nursery: trio.Nursery) -> None:
    under_way = UnderWay()
    assert await waited(under_way) == 0
    nursery.start_soon(operation, under_way, 30)
    nursery.start_soon(operation, under_way, 50)
    await trio.sleep(1)
    assert await waited(under_way) == pytest.approx(49)


async def test_a_helper_is_waited_for_but_not_for_long(
    clock: MockClock, nursery: trio.Nursery
) -> None:
    under_way = UnderWay()
    nursery.start_soon(stuck, under_way)
    await trio.sleep(0.5)
    assert not under_way.stuck
    assert await waited(under_way) == pytest.approx(PATIENCE_SECONDS - 0.5)
    assert under_way.stuck == ("L1",)
    assert await waited(under_way) == 0
    nursery.cancel_scope.cancel()


async def test_one_that_gets_stuck_while_it_is_waited_for(
    clock: MockClock, nursery: trio.Nursery
) -> None:
    """Others still count."""
    under_way = UnderWay()
    nursery.start_soon(stuck, under_way, 3)
    nursery.start_soon(operation, under_way, 4)
    await trio.sleep(1)
    assert await waited(under_way) == pytest.approx(3)
    nursery.start_soon(operation, under_way, 20)
    await trio.sleep(1)
    assert await waited(under_way) == pytest.approx(19)
    nursery.cancel_scope.cancel()


async def test_a_helper_that_comes_back_in_time_counts_on(
    clock: MockClock, nursery: trio.Nursery
) -> None:
    under_way = UnderWay()

    async def helped_and_on() -> None:
        with under_way:
            with under_way.helped():
                await trio.sleep(0.9)
            await trio.sleep(7.1)

    nursery.start_soon(helped_and_on)
    await trio.sleep(0.5)
    assert await waited(under_way) == pytest.approx(7.5)
