"""Subscriptions of both clients when isod ends and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.client.errors import EventsLost
from tests.unit.wire.open_files import open_fds

from .comebacks import ComesBack, coming_back
from .either_kind import KINDS, connected, done, following, next_of, until_it_hangs_up

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_fd_is_left() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before


async def test_events_go_on_without_a_gap_or_one_twice(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("then events.subscribe", "then events.subscribe")
    daemon.events = [(41, "lease.granted"), (42, "lease.draining")]
    with coming_back(daemon, tmp_path) as path:
        async with (
            connected(kind, path) as isod,
            following(isod, kinds=["lease"], since=40) as events,
        ):
            seen = [(await next_of(events)).seq, (await next_of(events)).seq]
            daemon.events += [(43, "lease.ended"), (44, "lease.granted")]
            seen += [(await next_of(events)).seq, (await next_of(events)).seq]
            daemon.events += [(45, "lease.draining")]
            seen += [(await next_of(events)).seq]
    assert seen == [41, 42, 43, 44, 45]
    asked = [one.params for one in daemon.asked_for("events.subscribe")]
    assert asked == [{"kinds": ["lease"], "since": since} for since in (40, 42, 44)]


async def test_events_that_came_before_the_end_are_not_lost(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("before host.info")
    daemon.events = [(41, "lease.granted"), (42, "lease.draining")]
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod, following(isod, since=40) as events:
            assert (await next_of(events)).seq == 41
            daemon.events += [(43, "lease.ended")]
            await done(isod.info())  # which connects again
            assert [(await next_of(events)).seq for _ in range(2)] == [42, 43]


async def test_what_is_not_known_after_a_restart_is_said(kind: str, tmp_path: Path) -> None:
    daemon = ComesBack("then events.subscribe")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod, following(isod) as events:
            daemon.events = [(1000, "gap")]
            with pytest.raises(EventsLost) as lost:
                await next_of(events)
            assert (lost.value.seq, lost.value.gone) == (1000, True)
            async with following(isod, since=lost.value.seq) as further:
                daemon.ends = ["before host.info"]
                daemon.events += [(1001, "lease.granted")]
                await done(isod.info())
                assert (await next_of(further)).seq == 1001


async def test_leaving_a_lost_subscription_does_not_connect_again(
    kind: str, tmp_path: Path
) -> None:
    daemon = ComesBack("then events.subscribe")
    with coming_back(daemon, tmp_path) as path:
        async with connected(kind, path) as isod, following(isod):
            until_it_hangs_up(isod)
    assert daemon.lives == 1
