"""SIGKILL of the daemon at random moments: after a restart all is restored, nobody has too much.

Moments are the steps of a grant and of the way back, and numbers of answers that the daemon gave
while clients came and went. (Every system call in turn is the kill matrix's job.)
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from isod.client.errors import ClientError
from isod.kernel.simulated import faults
from tests.walk.borrowers import Borrower, Borrowers
from tests.walk.conftest import Raise
from tests.walk.moments import SEED
from tests.walk.scripts import scripts
from tests.walk.stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

STEPS = [
    ("unbind", "iommufd"),
    ("bind", "iommufd"),
    ("probe", "iommufd"),
    ("limit", "iommufd"),
    ("open_iommufd", "iommufd"),
    ("open_group", "group"),
    ("grant_nodes", "nodes"),
]
BACK = ["fence", "reset", "restore"]
ROUNDS = 10


def test_daemon_is_killed_at_any_moment(raised: Raise, borrowers: Borrowers) -> None:
    """Before each step has run, on the way there and on the way back, the client living on."""
    stage = raised()
    pair, sibling = stage.machine.device("pair"), stage.machine.device("sibling")
    for step, hand_over in STEPS:
        which = None if step in {"limit", "grant_nodes"} else pair
        with borrowers.start() as client:
            client.connect(stage)
            with faults.hang(stage.machine.root, step, which):
                client.begin("acquire", devices=[pair], hand_over=hand_over)
                stage.daemon.until(lambda: stage.lease_count() == 1, "nothing was begun")
                stage.kill()
            with pytest.raises(ClientError):
                client.answer()
            stage.start()
            stage.until_restored()
    for step in BACK:
        with borrowers.start() as client:
            client.connect(stage)
            client.do("acquire", devices=[pair, sibling], hand_over="iommufd")
            with faults.hang(stage.machine.root, step, pair):
                client.do("close")
                stage.daemon.wait_for("lease.draining")
                stage.kill()
            stage.start()
            stage.until_restored()


def test_daemon_is_killed_at_any_moment_while_clients_come_and_go(
    raised: Raise, borrowers: Borrowers
) -> None:
    """Afterwards those who still have something are left alone,
    and nobody else is given it."""
    stage = raised()
    chance = random.Random(f"{SEED} daemon")
    pair = stage.machine.device("pair")
    for _ in range(ROUNDS):
        name, script = chance.choice(list(scripts(stage).items()))
        with borrowers.start() as client:
            stop = chance.randrange(0, 40)
            client.begin("perform", script=list(script), die_at=0)
            # An event of the daemon's, not time: so many questions answered meanwhile.
            for _ in range(stop):
                stage.control.info()
            stage.kill()
            print(f"{name}: killed after {stop} answers")
            stage.start()
            with suppress(ClientError, OSError):
                client.answer()
            no_double_grant(stage, pair, client)
            client.kill()
        stage.until_quiet()


def no_double_grant(stage: Stage, device: str, former: Borrower) -> None:
    """A second asker gets the group only if the client of the former daemon has none of it."""
    with stage.line() as line:
        wanted = [{"address": f"pci:{device}"}]
        response = line.ask("lease.acquire", devices=wanted, hand_over="iommufd")
    if "result" in response:
        assert not former.vfio_files()
    else:
        assert response["error"]["data"]["reason"] in {"group_busy", "held_outside"}
