"""What a hostile client's neighbours notice, and what it notices itself."""

from __future__ import annotations

from contextlib import suppress

from isod.wire import packet
from tests.walk.conftest import Start
from tests.walk.line import Line
from tests.walk.stage import Stage


def serves(stage: Stage, borrower: Start) -> None:
    """A well-behaved client gets its lease."""
    with borrower() as client:
        client.connect(stage)
        client.do("acquire", devices=[stage.machine.device("single")], hand_over="iommufd")
        client.do("use", what="bind")
        client.do("release")


def ended(line: Line) -> bool:
    """Whether the daemon ends the connection, after whatever it still says."""
    with suppress(ConnectionResetError, BrokenPipeError):
        while (received := line.receive()) is not None:
            packet.close_all(received[1])
    return True
