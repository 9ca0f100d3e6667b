"""Subscribing: quotas, whose a subscription is, and its end with the connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isod.core.accounts import Accounts, Resource
from isod.daemon.identify import Identity
from isod.daemon.store import Store
from isod.daemon.subscribers import Subscribers
from isod.daemon.subscription import Subscription
from isod.daemon.world import World
from isod.model.policy import Limits
from isod.model.reason import Reason, RefusedError
from isod.model.request import Subscribe, SubscriptionName
from tests.unit.core.build import host

from .news import ALICE, BOB, Records, identity, kinds

LIMITS = Limits(subscriptions_per_connection=2, subscriptions_per_uid=3, unread_events=2)
EVERYTHING = Subscribe()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(tmp_path)
    world = World(store, Records(), host())
    world.policy = replace(world.policy, limits=LIMITS)
    yield world
    store.close()


@pytest.fixture
def subscribers(world: World) -> Subscribers:
    return Subscribers(world)


def begin(subscribers: Subscribers, who: Identity) -> Subscription:
    return subscribers.subscribe(who, EVERYTHING).subscription


def test_the_answer_says_where_to_begin_later(world: World, subscribers: Subscribers) -> None:
    world.publisher.policy_reloaded(1)
    opened = subscribers.subscribe(identity(), EVERYTHING)
    assert opened.result.seq == world.publisher.ring.latest
    assert opened.result.subscription == opened.subscription.name


def test_a_connection_has_so_many(world: World, subscribers: Subscribers) -> None:
    book = Accounts(lambda: world.policy.limits)
    mine, second, other = (identity(uid, book=book) for uid in (ALICE, ALICE, BOB))
    first = begin(subscribers, mine)
    begin(subscribers, mine)
    with pytest.raises(RefusedError, match="one connection may have") as refused:
        begin(subscribers, mine)
    assert refused.value.refusal.reason is Reason.quota
    begin(subscribers, second)
    with pytest.raises(RefusedError, match="one user may have"):
        begin(subscribers, second)
    begin(subscribers, other)
    subscribers.unsubscribe(mine, SubscriptionName(subscription=first.name))
    begin(subscribers, second)


async def test_what_waits_for_all_subscribers_of_a_user_has_an_end(
    world: World, subscribers: Subscribers
) -> None:
    """Each of them is told that it ends; none of it stays charged."""
    limits = Limits(bytes=400, bytes_per_uid=500)  # an event has some 150
    book = Accounts(lambda: limits)
    mine, second, other = (identity(uid, book=book) for uid in (ALICE, ALICE, BOB))
    queues = [begin(subscribers, who) for who in (mine, mine, second, other)]
    for number in range(2):
        world.publisher.policy_reloaded(number)
    assert 300 < book.of_uid(ALICE, Resource.bytes) <= 500
    assert mine.account.has(Resource.bytes) <= 400
    told = [await kinds(one) for one in queues]
    assert ["gap" in one for one in told] == [True, True, True, False]
    assert book.of_uid(ALICE, Resource.bytes) == 0
    for who in (mine, second):
        subscribers.leave(who)
    assert book.of_uid(ALICE, Resource.subscriptions) == 0


async def test_an_ended_one_counts_until_its_last_event_was_sent(
    world: World, subscribers: Subscribers
) -> None:
    """Else a client that never reads could have as many full queues as it likes."""
    mine = identity(book=Accounts(lambda: world.policy.limits))
    stalled = begin(subscribers, mine)
    begin(subscribers, mine)
    for number in range(5):
        world.publisher.policy_reloaded(number)
    with pytest.raises(RefusedError):
        begin(subscribers, mine)
    assert (await kinds(stalled))[-1] == "gap"
    subscribers.drop(stalled)
    begin(subscribers, mine)


def test_nobody_ends_the_subscription_of_another_connection(subscribers: Subscribers) -> None:
    mine = begin(subscribers, identity(ALICE))
    with pytest.raises(RefusedError) as refused:
        subscribers.unsubscribe(identity(ALICE), SubscriptionName(subscription=mine.name))
    assert refused.value.refusal.reason is Reason.not_found


async def test_nothing_is_sent_after_the_end(world: World, subscribers: Subscribers) -> None:
    who = identity()
    mine = begin(subscribers, who)
    world.publisher.policy_reloaded(1)
    subscribers.unsubscribe(who, SubscriptionName(subscription=mine.name))
    world.publisher.policy_reloaded(2)
    assert await mine.next() is None


def test_a_connection_takes_its_subscriptions_along(world: World, subscribers: Subscribers) -> None:
    mine, his = identity(), identity()
    begin(subscribers, mine)
    begin(subscribers, mine)
    stays = begin(subscribers, his)
    subscribers.leave(mine)
    assert world.publisher.subscriptions == [stays]


def test_numbers_grow_over_restarts_even_if_the_clock_is_set_back(tmp_path: Path) -> None:
    latest = []
    for now in (2_000_000.0, 2_000_000.5, 1_000_000.0, 9_000_000.0):
        store = Store(tmp_path)
        world = World(store, Records(), host(), clock=lambda now=now: now)  # type: ignore[misc]
        world.publisher.policy_reloaded(1)
        latest.append(world.publisher.ring.latest)
        store.close()
    assert latest == sorted(set(latest))
    assert latest[-1] == 9_000_000 * 1_000_000 + 1


async def test_who_is_not_welcome_any_more_is_told_so_and_nothing_else(
    world: World, subscribers: Subscribers
) -> None:
    """What he could see until then he still gets."""
    alice, bob = begin(subscribers, identity(ALICE)), begin(subscribers, identity(BOB))
    world.publisher.policy_reloaded(1)
    subscribers.dismiss(lambda peer: peer.uid != ALICE)
    world.publisher.policy_reloaded(2)
    assert await kinds(alice) == ["policy.reloaded", "gap"]
    assert await kinds(bob) == ["policy.reloaded", "policy.reloaded"]
