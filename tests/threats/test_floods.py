"""Several who flood at once, each in its own way: what the daemon has may not grow past its limits.
What others feel of them is measured, not tested: make flood."""

from __future__ import annotations

import os

import pytest

from isod.model.policy import Limits
from tests.bench.attacker import UNLAWFUL, users
from tests.bench.cost import GROWTH, Cost, fds_allowed
from tests.bench.raid import raid
from tests.walk.borrowers import Borrower
from tests.walk.conftest import Raise, Start
from tests.walk.daemon import PATIENCE
from tests.walk.stage import Stage

pytestmark = pytest.mark.slow

LEASES = 20


def lend(stage: Stage, client: Borrower) -> None:
    """Again and again: it waits until the device is back from the time before."""
    device = stage.machine.device("single")
    client.do("acquire", devices=[device], hand_over="iommufd", wait=PATIENCE)
    client.do("use", what="bind")
    client.do("release")


@pytest.mark.skipif(os.geteuid() != 0, reason="many users need root")
def test_silent_connections_among_other_floods_cost_no_more_than_they_may(
    raised: Raise, borrower: Start
) -> None:
    """One sends fds, one never reads, 1,000 say nothing, one sends what is too long."""
    stage = raised()
    client = borrower()
    client.connect(stage)  # who comes later may find all places taken
    lend(stage, client)
    cost = Cost(stage.daemon)
    with raid(UNLAWFUL, stage.socket, max(os.sched_getaffinity(0))) as raiders:
        stage.daemon.until(lambda: stage.daemon.fds()["socket"] >= 1000, "they do not come")
        for _ in range(LEASES):
            lend(stage, client)
            cost.look()
        assert raiders.alive, "an attacker gave up"
    assert cost.grown <= GROWTH
    assert cost.fds <= fds_allowed(cost.own_fds, sum(map(users, UNLAWFUL)), Limits())
    client.close()
    stage.until_quiet()
    cost.begin()
    cost.look()
    assert cost.fds <= cost.own_fds
