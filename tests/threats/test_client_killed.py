"""SIGKILL of the client at any moment: every time all is freed and every driver is back.

Two hundred moments: lines of the client's own program, from before it connects until after its
last word, and words of the daemon's log, so that it dies with an unread reply, with files that it
has not bound yet, with fresh files under way, or while isod is on the way back.
"""

from __future__ import annotations

import pytest

from tests.walk.borrowers import Borrowers
from tests.walk.conftest import Start
from tests.walk.killing import killed_at_lines
from tests.walk.stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

LINES = 40
ASKED = 10


@pytest.mark.parametrize("name", ["iommufd", "reopened", "group", "nodes"])
def test_client_is_killed_at_any_moment(stage: Stage, borrowers: Borrowers, name: str) -> None:
    lines = killed_at_lines(stage, borrowers, name, LINES)
    assert lines > 500, "the client ran without being traced"


@pytest.mark.parametrize("hand_over", ["iommufd", "group"])
def test_client_is_killed_at_any_moment_with_an_unread_reply(
    stage: Stage, borrowers: Borrowers, hand_over: str
) -> None:
    pair = stage.machine.device("pair")
    for _ in range(ASKED):
        with borrowers.start() as client:
            client.connect(stage)
            said = len(stage.daemon.log)
            client.do("ask", devices=[pair], hand_over=hand_over)
            stage.daemon.wait_for("lease.granted", after=said)
            client.kill()
        stage.until_quiet()


def test_client_is_killed_at_any_moment_between_hand_over_and_bind(
    stage: Stage, borrowers: Borrowers
) -> None:
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    for _ in range(ASKED):
        with borrowers.start() as client:
            client.connect(stage)
            client.do("acquire", devices=[pair, sibling], hand_over="iommufd")
            client.kill()
        stage.until_quiet()


def test_client_is_killed_at_any_moment_while_its_lease_drains(
    stage: Stage, borrowers: Borrowers
) -> None:
    for _ in range(ASKED):
        with borrowers.start() as client:
            client.connect(stage)
            client.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
            client.do("use", what="bind")
            said = len(stage.daemon.log)
            client.do("release_only")
            stage.daemon.wait_for("lease.in_use", after=said)
            client.kill()
        stage.until_quiet()


def test_client_is_killed_at_any_moment_and_another_lease_does_not_notice(
    stage: Stage, borrower: Start
) -> None:
    steady, dying = borrower(), borrower()
    steady.connect(stage)
    steady.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
    steady.do("use", what="bind")
    dying.connect(stage)
    dying.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
    dying.kill()
    stage.daemon.until(lambda: stage.lease_count() == 1, "the dead one's lease stays")
    steady.do("use", what="attach")
    assert stage.group_state(stage.machine.device("single")) == "leased"
