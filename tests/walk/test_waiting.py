"""Waiting for what others have: in fair order, as long as one likes, without losing anything."""

from __future__ import annotations

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason

from .borrowers import Borrower
from .conftest import Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons


def test_who_waits_gets_it_when_it_is_free(stage: Stage, borrower: Start) -> None:
    holder, waiter, newcomer = borrower(), borrower(), borrower()
    device = stage.machine.device("single")
    for client in (holder, waiter, newcomer):
        client.connect(stage)
    first = holder.do("acquire", devices=[device])
    waiter.begin("acquire", devices=[device], wait=30)
    stage.daemon.until(lambda: is_queued(newcomer, device), "nobody waits")
    holder.do("close")
    assert waiter.answer()["id"] != first["id"]
    waiter.do("close")


def test_the_time_to_wait_ends(stage: Stage, borrower: Start) -> None:
    holder, waiter = borrower(), borrower()
    device = stage.machine.device("single")
    holder.connect(stage)
    waiter.connect(stage)
    holder.do("acquire", devices=[device])
    with pytest.raises(Refused) as refused:
        waiter.do("acquire", devices=[device], wait=0.01)
    assert refused.value.reason is Reason.group_busy
    holder.do("close")


def test_who_dies_waiting_holds_nobody_up(stage: Stage, borrower: Start) -> None:
    holder, dying, waiter, newcomer = borrower(), borrower(), borrower(), borrower()
    device = stage.machine.device("single")
    for client in (holder, dying, waiter, newcomer):
        client.connect(stage)
    holder.do("acquire", devices=[device])
    dying.begin("acquire", devices=[device], wait=30)
    stage.daemon.until(lambda: is_queued(newcomer, device), "nobody waits")
    waiter.begin("acquire", devices=[device], wait=30)
    dying.kill()
    holder.do("close")
    assert waiter.answer()["state"] == "leased"
    waiter.do("close")


def test_waiting_for_what_one_may_not_have_is_refused_at_once(
    stage: Stage, borrower: Start
) -> None:
    client = borrower()
    client.connect(stage)
    with pytest.raises(Refused) as refused:
        client.do("acquire", devices=["0000:7f:00.0"], wait=3600)
    assert refused.value.reason is Reason.not_found


def is_queued(newcomer: Borrower, device: str) -> bool:
    """A newcomer is told that others wait: not before the waiter's request has arrived."""
    try:
        newcomer.do("acquire", devices=[device])
    except Refused as refused:
        return "others wait" in refused.message
    return False
