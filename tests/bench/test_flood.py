"""What the bench of floods calls over; what it measures is for make flood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isod.model.policy import Limits
from isod.model.request import LEASE_FDS

from .cost import GROWTH, fds_allowed
from .flood import Row
from .measure import Times

CALM = Times(100.0, 1000.0)
ROW = Row(("fds",), "host.info", CALM, Times(150.0, 3000.0), GROWTH, 400, 400)


def test_nothing_is_over_at_its_line() -> None:
    assert ROW.over == []


@pytest.mark.parametrize(
    ("row", "over"),
    [
        (replace(ROW, flooded=Times(151.0, 3000.0)), ["median"]),
        (replace(ROW, flooded=Times(150.0, 3001.0)), ["p99"]),
        (replace(ROW, grown=GROWTH + 1, fds=401), ["memory", "fds"]),
    ],
)
def test_what_is_beyond_is_named(row: Row, over: list[str]) -> None:
    assert row.over == over


def test_who_asks_lawfully_may_cost_others_time_and_nothing_else() -> None:
    row = replace(ROW, attackers=("asking",), flooded=Times(1000.0, 9000.0), fds=401)
    assert row.over == ["fds"]


def test_fds_go_by_the_users_that_there_are_until_there_are_too_many() -> None:
    limits = Limits(connections=100, connections_per_uid=64)
    one, two, many = (fds_allowed(20, users, limits) for users in (1, 2, 20))
    assert one < two == many
    assert many - 20 - 2 * 100 < LEASE_FDS + 20
