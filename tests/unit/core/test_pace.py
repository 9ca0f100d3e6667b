"""So many at once, and so many a second, whoever else comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.core.pace import Pace


def test_as_many_as_may_come_at_once_do_not_wait() -> None:
    pace = Pace()
    assert [pace.wait(1, 100.0, at_once=3, per_second=2) for _ in range(3)] == [0, 0, 0]


def test_those_beyond_wait_one_after_the_other() -> None:
    pace = Pace()
    waits = [pace.wait(1, 100.0, at_once=3, per_second=2) for _ in range(6)]
    assert waits == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])


def test_who_comes_no_faster_than_that_never_waits() -> None:
    pace = Pace()
    assert not any(pace.wait(1, second / 2, at_once=1, per_second=2) for second in range(100))


def test_who_was_away_for_a_while_comes_as_if_for_the_first_time() -> None:
    pace = Pace()
    for _ in range(6):
        pace.wait(1, 100.0, at_once=3, per_second=2)
    assert pace.wait(1, 103.0, at_once=3, per_second=2) == 0
    assert pace.wait(1, 103.0, at_once=3, per_second=2) == 0
    assert pace.wait(1, 103.0, at_once=3, per_second=2) == 0
    assert pace.wait(1, 103.0, at_once=3, per_second=2) > 0


def test_one_user_keeps_no_other_waiting() -> None:
    pace = Pace()
    for _ in range(100):
        pace.wait(1, 100.0, at_once=3, per_second=2)
    assert pace.wait(2, 100.0, at_once=3, per_second=2) == 0


@given(
    st.lists(st.tuples(st.integers(1, 3), st.floats(0, 2)), max_size=60),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_nobody_is_served_more_often(
    comings: list[tuple[int, float]], at_once: int, per_second: int
) -> None:
    """In no stretch of time more than that which may come at once and what the stretch allows."""
    pace, now = Pace(), 0.0
    served: dict[int, list[float]] = {}
    for uid, later in comings:
        now += later
        wait = pace.wait(uid, now, at_once=at_once, per_second=per_second)
        served.setdefault(uid, []).append(now + wait)
    for times in served.values():
        assert times == sorted(times), "in the order in which they came"
        for first, begin in enumerate(times):
            for last in range(first, len(times)):
                allowed = at_once + (times[last] - begin) * per_second
                assert last - first + 1 <= allowed + 1e-6


def test_users_who_came_once_are_forgotten() -> None:
    pace = Pace()
    for uid in range(1000):
        pace.wait(uid, float(uid), at_once=3, per_second=2)
    assert len(pace._passed) == 1, "nothing else tells"
