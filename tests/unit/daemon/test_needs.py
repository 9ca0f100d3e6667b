"""What the host needs is read after each request was made, once for all who ask together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any, cast

import pytest
import trio
import trio.testing

from isod.daemon.needs import LISTED_SECONDS, Needs
from isod.daemon.world import World
from isod.kernel.port import Kernel
from isod.model.critical import CriticalFacts
from isod.model.host import Device, HostSnapshot


class FakeWorld:
    snapshot = HostSnapshot()


class FakeKernel:
    """Answers with ``say``, which runs in the thread."""

    def __init__(self, say: Callable[[], CriticalFacts]) -> None:
        self._say = say
        self.looks = 0

    def critical(self, devices: Collection[Device]) -> CriticalFacts:
        self.looks += 1
        return self._say()


def needs_of(kernel: FakeKernel, nursery: trio.Nursery) -> Needs:
    return Needs(cast(Kernel, kernel), cast(World, cast(Any, FakeWorld())), nursery)


async def test_nothing_is_known_before_the_first_look() -> None:
    async with trio.open_nursery() as nursery:
        needs = needs_of(FakeKernel(CriticalFacts), nursery)
        assert needs.facts.unread is not None
        await needs.look()
        assert needs.facts == CriticalFacts()


async def test_every_request_has_facts_from_after_it_was_made() -> None:
    async with trio.open_nursery() as nursery:
        kernel = FakeKernel(CriticalFacts)
        needs = needs_of(kernel, nursery)
        await needs.look()
        await needs.look()
        assert kernel.looks == 2


async def test_requests_that_wait_together_share_a_look_that_begins_after_them_all() -> None:
    go = threading.Event()

    def slowly() -> CriticalFacts:
        assert go.wait(30)
        return CriticalFacts()

    kernel = FakeKernel(slowly)
    async with trio.open_nursery() as nursery:
        needs = needs_of(kernel, nursery)
        nursery.start_soon(needs.look)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(19):
            nursery.start_soon(needs.look)
        await trio.testing.wait_all_tasks_blocked()
        go.set()
    assert kernel.looks == 2  # the first one's, and one for all who came after it had begun


async def test_what_goes_wrong_leaves_nothing_known() -> None:
    def fails() -> CriticalFacts:
        raise KeyError("lost")

    async with trio.open_nursery() as nursery:
        needs = needs_of(FakeKernel(fails), nursery)
        await needs.look()
        assert needs.facts.unread == "KeyError: 'lost'"


async def test_a_look_that_takes_too_long_leaves_nothing_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    go = threading.Event()

    def hangs() -> CriticalFacts:
        go.wait(30)
        return CriticalFacts()

    async with trio.open_nursery() as nursery:
        needs = needs_of(FakeKernel(hangs), nursery)
        await needs.look()
        assert needs.facts.unread == "looking it up took too long"
        go.set()


async def test_who_looks_and_then_acts_acts_on_fresh_facts() -> None:
    seen: list[CriticalFacts] = []
    async with trio.open_nursery() as nursery:
        needs = needs_of(FakeKernel(CriticalFacts), nursery)
        needs.look_then(lambda: seen.append(needs.facts))
    assert seen == [CriticalFacts()]


async def test_a_list_takes_facts_of_some_seconds_and_says_how_old_they_are(
    mock_clock: trio.testing.MockClock,
) -> None:
    """The clock is moved by hand: by itself it would jump while the thread looks, past the time
    that a look may take."""
    async with trio.open_nursery() as nursery:
        kernel = FakeKernel(CriticalFacts)
        needs = needs_of(kernel, nursery)
        ages = [needs.age]
        for pause in (0.0, LISTED_SECONDS - 1, 1.5):
            mock_clock.jump(pause)
            await needs.look_for_a_list()
            ages.append(needs.age)
        assert ages[0] is None
        assert ages[1:] == pytest.approx([0.0, LISTED_SECONDS - 1, 0.0])
        assert kernel.looks == 2


async def test_a_list_never_makes_a_decision_use_old_facts() -> None:
    async with trio.open_nursery() as nursery:
        kernel = FakeKernel(CriticalFacts)
        needs = needs_of(kernel, nursery)
        await needs.look_for_a_list()
        await needs.look()
        assert kernel.looks == 2
