"""Waiting in fair order: nobody overtakes where it matters, nobody waits for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isod.core.queue import Queue

GROUPS = st.frozensets(st.integers(0, 5), min_size=1, max_size=3)


def queue_of(*needs: frozenset[int]) -> Queue[int]:
    queue: Queue[int] = Queue()
    for ticket, groups in enumerate(needs):
        queue.join(ticket, 1000, groups)
    return queue


def test_a_later_one_never_takes_what_an_earlier_one_waits_for() -> None:
    queue = queue_of(frozenset({1, 2}), frozenset({2}), frozenset({3}))
    assert list(queue.ready(lambda group: group != 1)) == [2]
    assert list(queue.ready(lambda group: True)) == [0]
    assert list(queue.ready(lambda group: True)) == [1]


def test_counts_are_per_user() -> None:
    queue = queue_of(frozenset({1}))
    queue.join(7, 1001, frozenset({2}))
    assert (queue.count(1000), queue.count(1001), queue.count(5)) == (1, 1, 0)
    assert queue.wanted() == {1, 2}


def test_who_leaves_is_gone() -> None:
    queue = queue_of(frozenset({1}), frozenset({1}))
    assert queue.leave(0)
    assert not queue.leave(0)
    assert 0 not in queue
    assert list(queue.ready(lambda group: True)) == [1]


@given(st.lists(GROUPS, max_size=8), st.frozensets(st.integers(0, 5)))
def test_ready_is_fair_disjoint_and_leaves_nobody_who_could_go(
    needs: list[frozenset[int]], free: frozenset[int]
) -> None:
    queue = queue_of(*needs)
    went = list(queue.ready(free.__contains__))
    taken: set[int] = set()
    for ticket in went:
        assert needs[ticket] <= free
        assert taken.isdisjoint(needs[ticket])
        taken |= needs[ticket]
        for earlier in range(ticket):
            assert earlier in went or needs[earlier].isdisjoint(needs[ticket])
    stayed = [ticket for ticket in range(len(needs)) if ticket not in went]
    for ticket in stayed:
        blocked = not needs[ticket] <= free
        behind = any(not needs[e].isdisjoint(needs[ticket]) for e in range(ticket))
        assert blocked or behind
        assert ticket in queue


def test_groups_that_a_new_policy_joins_are_waited_for_together() -> None:
    queue: Queue[str] = Queue()
    queue.join("first", 1000, frozenset({1}))
    queue.widen(lambda group: (1, 2) if group in {1, 2} else (group,))
    assert queue.wanted() == {1, 2}
    assert list(queue.ready(lambda group: group == 1)) == []
    assert list(queue.ready(lambda group: True)) == ["first"]
