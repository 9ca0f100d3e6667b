"""What the outer run makes of a guest's events, without a guest."""

import queue
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from tests.lab.boot import Guest, GuestError
from tests.lab.protocol import Event, decode, encode
from tests.lab.schedule import BOOT_PATIENCE, IDLE_PATIENCE, End, Group, GroupRun, Report
from tests.lab.selection import GuestName, LabMark

Mailboxes = dict[str, "queue.Queue[Report | End]"]


class ScriptedGuest:
    """Reports what it was told to, and notes how patient its reader was before each event."""

    def __init__(self, *script: Event | GuestError) -> None:
        self.script = script
        self.patience: list[float] = []

    def events(self, command: list[str], patience: Callable[[], float]) -> Iterator[Event]:
        assert command == ["agent"]
        for event in self.script:
            self.patience.append(patience())
            if isinstance(event, GuestError):
                raise event
            yield event

    def tail(self) -> str:
        return "Kernel panic - not syncing"


def follow(*script: Event | GuestError) -> tuple[Mailboxes, ScriptedGuest]:
    group = Group(GuestName("7.2", "standard"), {"one": 7.0, "two": 9.0})
    mailboxes: Mailboxes = {"one": queue.Queue(), "two": queue.Queue()}
    guest = ScriptedGuest(*script)
    GroupRun(group, mailboxes).follow(cast("Guest", guest), ["agent"])
    return mailboxes, guest


def drain(mailbox: "queue.Queue[Report | End]") -> list[Report | End]:
    news = []
    while not mailbox.empty():
        news.append(mailbox.get_nowait())
    return news


_ONE: list[Event] = [
    {"event": "start", "test": "one"},
    {"event": "report", "test": "one", "report": {"when": "call"}},
    {"event": "done", "test": "one"},
]


def test_tests_that_ran_end_without_trouble() -> None:
    two = [{**event, "test": "two"} for event in _ONE]
    mailboxes, _ = follow({"event": "ready"}, *_ONE, *two, {"event": "finished"})
    assert drain(mailboxes["one"]) == [Report({"when": "call"}), End()]
    assert drain(mailboxes["two"]) == [Report({"when": "call"}), End()]


def test_panic_fails_only_what_is_unfinished() -> None:
    mailboxes, _ = follow({"event": "ready"}, *_ONE, GuestError("the guest ended"))
    assert drain(mailboxes["one"])[-1] == End()
    (end,) = drain(mailboxes["two"])
    assert isinstance(end, End)
    assert end.trouble is not None
    assert "guest 7.2/standard: the guest ended" in end.trouble
    assert "Kernel panic" in end.trouble


def test_panic_in_a_test_ends_it_too() -> None:
    mailboxes, _ = follow(_ONE[0], GuestError("gone"))
    assert all(isinstance(drain(mailboxes[test])[0], End) for test in ("one", "two"))


def test_what_the_guest_never_ran_says_why() -> None:
    trouble = {"event": "trouble", "text": "ImportError: no module named spam"}
    mailboxes, _ = follow({"event": "ready"}, trouble, {"event": "finished"})
    (end,) = drain(mailboxes["one"])
    assert isinstance(end, End)
    assert end.trouble is not None
    assert "without running this test" in end.trouble
    assert "no module named spam" in end.trouble


def test_patience_is_the_running_test_s() -> None:
    _, guest = follow({"event": "ready"}, *_ONE, {"event": "finished"})
    assert guest.patience == [BOOT_PATIENCE, IDLE_PATIENCE, 7.0, 7.0, IDLE_PATIENCE]


def test_events_survive_the_line() -> None:
    event = {"event": "report", "test": "x", "report": {"longrepr": "a\nb", "odd": object}}
    line = encode(event)
    assert line.count(b"\n") == 1
    assert decode(line)["report"]["longrepr"] == "a\nb"
    with pytest.raises(ValueError, match="not an event"):
        decode(b"[1]\n")


def test_mark_names_guests() -> None:
    assert LabMark().guests() == [GuestName(k, "standard") for k in ("6.1", "6.12", "7.2")]
    assert [str(g) for g in LabMark(("7.2",), "sriov").guests()] == ["7.2-sriov"]


@pytest.mark.parametrize("mark", [LabMark(topology="flat"), LabMark(kernels=("5.10",))])
def test_mark_with_unknown_names_is_an_error(mark: LabMark) -> None:
    with pytest.raises(pytest.UsageError, match=r"no (topology|kernel)"):
        mark.guests()
