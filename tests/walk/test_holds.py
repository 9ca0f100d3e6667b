"""Holds cost isod and the service manager a file descriptor each: a lease has a few at most."""

from __future__ import annotations

from typing import Any

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason
from isod.model.request import LEASE_HOLDS

from .borrowers import Borrower, where
from .conftest import Raise, Start
from .machine import Shape
from .policy import EVERYTHING
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends daemons

TWO_LEASES = EVERYTHING + "[limits]\nleases = 2\n"


def borrow(stage: Stage, client: Borrower, shape: Shape) -> dict[str, Any]:
    lease: dict[str, Any] = client.do(
        "acquire", devices=[stage.machine.device(shape)], hand_over="nodes", name=shape
    )
    return lease


def open_again(client: Borrower, lease: dict[str, Any], name: str) -> None:
    client.do("open_by_secret", lease=lease["id"], secret=lease["secret"], name=name)


def open_as_often_as_it_may(client: Borrower, lease: dict[str, Any]) -> None:
    """Until it has the first hold, and as many more as there may be."""
    for number in range(LEASE_HOLDS - 1):
        open_again(client, lease, f"{lease['id']}-{number}")


def test_a_client_that_keeps_every_hold_is_refused(stage: Stage, borrower: Start) -> None:
    client = borrower()
    client.connect(stage)
    lease = borrow(stage, client, "single")
    before = stage.daemon.fds()["pipe"]
    open_as_often_as_it_may(client, lease)
    for attempt in range(2 * LEASE_HOLDS):
        with pytest.raises(Refused) as refused:
            open_again(client, lease, f"too many {attempt}")
        assert refused.value.reason is Reason.quota
        assert refused.value.hint == "close what an earlier open gave"
    assert stage.daemon.fds()["pipe"] <= before + LEASE_HOLDS - 1
    client.do("close", name=f"{lease['id']}-0")
    open_again(client, lease, "in its place")
    assert stage.group_state(stage.machine.device("single")) == "leased"


def test_the_service_manager_has_room_for_all_holds(raised: Raise, borrower: Start) -> None:
    """Two users that open as often as they may, and a third that is one lease too many: nothing is
    dropped, and both leases outlive a restart."""
    stage = raised(rules=TWO_LEASES, managed=True)
    assert stage.manager is not None
    stage.manager.room = 2 * LEASE_HOLDS
    one, two, third = borrower(), borrower(), borrower()
    for client in (one, two, third):
        client.connect(stage)
    owners = ((one, borrow(stage, one, "single")), (two, borrow(stage, two, "pair")))
    for client, lease in owners:
        open_as_often_as_it_may(client, lease)
        with pytest.raises(Refused) as refused:
            open_again(client, lease, "too many")
        assert refused.value.reason is Reason.quota
    with pytest.raises(Refused) as refused:
        borrow(stage, third, "below_switch")
    assert refused.value.reason is Reason.quota
    assert "the machine has 2 leases" in str(refused.value)
    assert len(stage.manager.kept) == 2 * LEASE_HOLDS
    assert stage.manager.dropped == 0
    stage.stop()
    stage.start()
    for shape in ("single", "pair"):
        assert stage.group_state(stage.machine.device(shape)) == "leased"
    for client, lease in owners:
        client.do("connect", **where(stage))
        with pytest.raises(Refused) as refused:
            open_again(client, lease, "too many")
        assert refused.value.reason is Reason.quota, "what was kept counts, too"
