"""SIGKILL of the client at twenty moments: every time all is freed and restored."""

from __future__ import annotations

import pytest

from tests.walk.borrowers import Borrowers
from tests.walk.killing import killed_at_lines
from tests.walk.stage import Stage

pytestmark = pytest.mark.lab(kernels=("7.2",), topology="standard", limit=400)


@pytest.mark.parametrize(("name", "count"), [("iommufd", 7), ("group", 3), ("nodes", 3)])
def test_at_a_line_of_its_program(
    stage: Stage, borrowers: Borrowers, name: str, count: int
) -> None:
    killed_at_lines(stage, borrowers, name, count)


@pytest.mark.parametrize("hand_over", ["iommufd", "group"])
def test_with_an_unread_reply(stage: Stage, borrowers: Borrowers, hand_over: str) -> None:
    with borrowers.start() as client:
        client.connect(stage)
        said = len(stage.daemon.log)
        client.do("ask", devices=[stage.machine.device("pair")], hand_over=hand_over)
        stage.daemon.wait_for("lease.granted", after=said)
        client.kill()
    stage.until_quiet()


@pytest.mark.parametrize("used", [(), ("bind",), ("bind", "attach")])
def test_with_files_that_it_uses_so_far(
    stage: Stage, borrowers: Borrowers, used: tuple[str, ...]
) -> None:
    """Between the hand-over and BIND, after BIND, and with an address space of its own."""
    with borrowers.start() as client:
        client.connect(stage)
        client.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
        for what in used:
            client.do("use", what=what)
        client.kill()
    stage.until_quiet()


@pytest.mark.parametrize("bound", [False, True])
def test_while_its_lease_drains(stage: Stage, borrowers: Borrowers, bound: bool) -> None:
    """Waited for by the probes, and by an unbind that hangs in the kernel."""
    with borrowers.start() as client:
        client.connect(stage)
        client.do("acquire", devices=[stage.machine.device("pair")], hand_over="iommufd")
        if bound:
            client.do("use", what="bind")
        said = len(stage.daemon.log)
        client.do("release_only")
        stage.daemon.wait_for("lease.in_use", after=said)
        client.kill()
    stage.until_quiet()
