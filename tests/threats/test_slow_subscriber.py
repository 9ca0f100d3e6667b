"""Subscribers that do not read."""

from __future__ import annotations

from contextlib import closing
from statistics import median
from time import monotonic

import pytest

from tests.walk.conftest import Raise
from tests.walk.policy import EVERYTHING
from tests.walk.test_events import CYCLE, Subscriber, cycle

pytestmark = pytest.mark.slow  # many leases

UNREAD = 8
# The kernel takes some 280 packets for who does not read (SO_SNDBUF), and UNREAD wait behind them.
MORE_THAN_FITS = 400


def test_slow_subscriber(raised: Raise) -> None:
    stage = raised(rules=f"{EVERYTHING}\n[limits]\nunread_events = {UNREAD}\n")
    took: list[float] = []
    with closing(Subscriber(stage)) as stalled, closing(Subscriber(stage, kinds=["lease"])) as mine:
        latest = stalled.start["seq"]
        while latest < stalled.start["seq"] + MORE_THAN_FITS:
            began = monotonic()
            cycle(stage, "pair")
            took.append(monotonic() - began)
            events = mine.until("lease.ended")
            assert [event["kind"] for event in events] == CYCLE
            latest = events[-1]["seq"]
        events = stalled.until("gap")
    before, after = median(took[: len(took) // 4]), median(took[-len(took) // 4 :])
    print(
        f"a lease took {before * 1000:.1f} ms at first, {after * 1000:.1f} ms beside a full queue"
    )
    # A daemon that waits for it would wait for seconds; the machine may be busy for less.
    assert after < max(3 * before, 1.0)
    numbers = [event["seq"] for event in events[:-1]]
    assert numbers == list(range(stalled.start["seq"] + 1, numbers[-1] + 1)), "none is left out"
    assert events[-1]["seq"] == numbers[-1]
    assert "lost" not in events[-1]
