"""Connections that cost something and ask for nothing."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from isod.daemon.listen import EVERYBODY, ROOT_ALONE, listen
from tests.unit.daemon.door import Door, said
from tests.walk.borrowers import UID
from tests.walk.conftest import Raise, Start
from tests.walk.policy import EVERYTHING
from tests.walk.stage import Stage

from .serving import ended, serves

SILENT = 1000
RULES = EVERYTHING + f"[limits]\nconnections_per_uid = {SILENT + 20}\n"


async def test_silent_connections(door: Door, autojump_clock: MockClock) -> None:
    """Who says nothing is told so and disconnected."""
    door.limit(hello=7.0)
    with trio.fail_after(60), await door.connect() as client:
        began = trio.current_time()
        told = await said(client)
        assert trio.current_time() - began == pytest.approx(7.0)
        assert told["id"] is None
        assert told["error"]["data"]["reason"] == "quota"
        assert told["error"]["message"] == "nothing was asked in the first 7 seconds"
        assert await said(client) is None


@pytest.mark.slow
def test_silent_connections_by_the_thousand(stage: Stage, borrower: Start) -> None:
    with ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(stage.line())
        serves(stage, borrower)
    stage.until_noticed()


@pytest.mark.slow
def test_silent_connections_of_one_user_keep_no_other_out(raised: Raise, borrower: Start) -> None:
    if os.geteuid() == UID:
        pytest.skip("two users need root")
    stage = raised(rules=EVERYTHING + "[limits]\nconnections_per_uid = 5\n")
    before = stage.daemon.fds()["socket"]
    with ExitStack() as stack:
        lines = [stack.enter_context(stage.line()) for _ in range(9)]
        told = lines[-1].receive()
        assert told is not None
        assert told[0]["error"]["data"]["reason"] == "quota"
        assert ended(lines[-1])
        serves(stage, borrower)
    stage.daemon.wait_for("connection.refused", "uid 0")
    stage.daemon.until(lambda: stage.daemon.fds()["socket"] <= before, "their end was not noticed")


def names_of_sockets() -> list[str]:
    """All of this network namespace; of abstract ones with an @."""
    return [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()]


@pytest.mark.parametrize("mode", [EVERYBODY, ROOT_ALONE])
async def test_abstract_socket(tmp_path: Path, mode: int) -> None:
    """It has a path, and a mode before anybody can connect; root's lies in a folder of root's."""
    path = tmp_path / "sockets" / "isod.sock"
    with listen(path, mode, None):
        assert path.stat().st_mode & 0o777 == mode
        assert path.parent.stat().st_mode & 0o777 == (0o700 if mode == ROOT_ALONE else 0o755)
        assert str(path) in names_of_sockets()
        assert not [name for name in names_of_sockets() if "@" in name and "isod.sock" in name]
