"""Waiting in fair order: nobody overtakes where it matters, nobody waits for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isod.core.queue import Queue, Wants

GROUPS = st.frozensets(st.integers(0, 5), min_size=1, max_size=3)


class Waiting:
    """Tickets that need fixed groups, and what is free; who goes has its groups from then on."""

    def __init__(self, *needs: frozenset[int], free: frozenset[int] = frozenset()) -> None:
        self.needs = needs
        self.free = free
        self.queue: Queue[int] = Queue(self._wants)
        for ticket in range(len(needs)):
            self.queue.join(ticket)

    def _wants(self, ticket: int, kept: frozenset[int]) -> Wants:
        needs = self.needs[ticket]
        return Wants(needs, ready=needs <= self.free - kept)

    def go(self, *freed: int) -> list[int]:
        """These groups become free; who goes now?"""
        self.free |= frozenset(freed)
        went = []
        for ticket, _ in self.queue.ready():
            went.append(ticket)
            self.free -= self.needs[ticket]
        return went


def test_a_later_one_never_takes_what_an_earlier_one_waits_for() -> None:
    waiting = Waiting(frozenset({1, 2}), frozenset({2}), frozenset({3}), free=frozenset({2, 3}))
    assert waiting.go() == [2]
    assert waiting.go(1) == [0]
    assert waiting.go(2) == [1]


def test_who_leaves_is_gone() -> None:
    waiting = Waiting(frozenset({1}), frozenset({1}))
    assert waiting.queue.leave(0)
    assert not waiting.queue.leave(0)
    assert 0 not in waiting.queue
    assert waiting.go(1) == [1]


def test_who_is_refused_at_its_turn_keeps_nothing_from_those_behind() -> None:
    waiting = Waiting(frozenset({1}), frozenset({1}), free=frozenset({1}))
    assert [ticket for ticket, _ in waiting.queue.ready()] == [0, 1]


@given(st.lists(GROUPS, max_size=8), st.frozensets(st.integers(0, 5)))
def test_ready_is_fair_disjoint_and_leaves_nobody_who_could_go(
    needs: list[frozenset[int]], free: frozenset[int]
) -> None:
    waiting = Waiting(*needs, free=free)
    went = waiting.go()
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
        assert ticket in waiting.queue
