"""The trio client when isod ends and comes back: many tasks, and those that are cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from isod.client import aio
from isod.client.errors import ConnectionLost
from tests.unit.wire.open_files import open_fds

from .comebacks import ComesBack, coming_back


@pytest.fixture(autouse=True)
def no_fd_is_left() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before


async def test_many_tasks_connect_again_once(tmp_path: Path) -> None:
    daemon = ComesBack("before host.info")
    kernels: list[str] = []
    with coming_back(daemon, tmp_path) as path:
        async with aio.Client.connect(path) as isod, trio.open_nursery() as nursery:

            async def ask() -> None:
                kernels.append((await isod.info()).kernel)

            for _ in range(10):
                nursery.start_soon(ask)
    assert len(kernels) == 10
    assert daemon.lives == 2


async def test_many_tasks_give_up_together(tmp_path: Path) -> None:
    """None begins to wait all over again when another has waited in vain."""
    daemon = ComesBack("before host.info")
    daemon.forever = True
    with coming_back(daemon, tmp_path) as path:
        async with aio.Client.connect(path, reconnect=0.2) as isod, trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ConnectionLost, match="did not come back"):
                    await isod.info()

            began = trio.current_time()
            for _ in range(50):
                nursery.start_soon(ask)
        assert trio.current_time() - began < 5


async def test_whoever_is_cancelled_while_connecting_leaves_it_to_others(tmp_path: Path) -> None:
    daemon = ComesBack("before host.info")
    scope = trio.CancelScope()
    with coming_back(daemon, tmp_path) as path:
        async with aio.Client.connect(path, on_lost=lambda _: scope.cancel()) as isod:
            with scope:
                await isod.info()
            assert scope.cancelled_caught
            assert (await isod.info()).kernel
    assert daemon.lives == 2


async def test_closing_ends_the_wait_for_a_daemon_that_is_away(tmp_path: Path) -> None:
    daemon = ComesBack("before host.info")
    daemon.forever = True
    with coming_back(daemon, tmp_path) as path:
        async with aio.Client.connect(path, on_lost=lambda _: isod.close()) as isod:
            with pytest.raises(ConnectionLost):
                await isod.info()
