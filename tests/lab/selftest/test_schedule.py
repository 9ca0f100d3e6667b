"""What the outer run makes of a guest's events, without a guest."""

import os
import queue
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from tests.lab.boot import FrozenError, Guest, GuestError
from tests.lab.protocol import Event, decode, encode
from tests.lab.pulse import Pulse
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

    def processors(self) -> str:
        return "CPU#0 (halted)"


def new_run() -> tuple[GroupRun, Mailboxes]:
    group = Group(GuestName("7.2", "standard"), {"one": 7.0, "two": 9.0})
    mailboxes: Mailboxes = {"one": queue.Queue(), "two": queue.Queue()}
    return GroupRun(group, mailboxes), mailboxes


def in_guest(run: GroupRun, *script: Event | GuestError) -> str | None:
    return run.follow(cast("Guest", ScriptedGuest(*script)), ["agent"])


def follow(*script: Event | GuestError) -> tuple[Mailboxes, ScriptedGuest]:
    run, mailboxes = new_run()
    guest = ScriptedGuest(*script)
    run.follow(cast("Guest", guest), ["agent"])
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


def test_a_frozen_guest_s_tests_get_another_one() -> None:
    run, mailboxes = new_run()
    two: list[Event] = [{**event, "test": "two"} for event in _ONE]
    froze = in_guest(run, {"event": "ready"}, *_ONE, *two[:2], FrozenError("not a beat"))
    assert froze is not None
    assert "CPU#0 (halted)" in froze
    assert drain(mailboxes["two"]) == []
    assert list(run.left.limits) == ["two"]
    assert in_guest(run, {"event": "ready"}, *two, {"event": "finished"}) is None
    # What it had reported before the freeze is not told twice.
    assert drain(mailboxes["two"]) == [Report({"when": "call"}), End()]
    assert len(drain(mailboxes["one"])) == 2


def test_a_second_freeze_fails_what_is_left() -> None:
    run, mailboxes = new_run()
    assert in_guest(run, {"event": "ready"}, *_ONE, FrozenError("the first")) is not None
    assert in_guest(run, FrozenError("the second")) is None
    (end,) = drain(mailboxes["two"])
    assert isinstance(end, End)
    assert end.trouble is not None
    assert "the second guest, too: the second" in end.trouble
    assert "the first" in end.trouble


def test_a_panic_gets_no_second_guest() -> None:
    run, mailboxes = new_run()
    assert in_guest(run, {"event": "ready"}, *_ONE, GuestError("the guest ended")) is None
    assert len(drain(mailboxes["two"])) == 1


def test_a_guest_that_finished_is_not_started_again_for_a_freeze_at_its_end() -> None:
    run, _ = new_run()
    two: list[Event] = [{**event, "test": "two"} for event in _ONE]
    assert in_guest(run, *_ONE, *two, FrozenError("at its end")) is None


def test_the_pulse_needs_every_processor() -> None:
    beats: list[None] = []
    pulse = Pulse(lambda: beats.append(None))
    processors = os.sched_getaffinity(0)
    for processor in sorted(processors)[1:]:
        pulse.woke(processor)
        pulse.woke(processor)
    assert beats == []
    pulse.woke(min(processors))
    assert len(beats) == 1


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
    (own,) = LabMark(("7.2",), "sriov", own="odd").guests()
    assert (str(own), own.variable()) == ("7.2-sriov-odd", "7.2/sriov/odd")


@pytest.mark.parametrize("mark", [LabMark(topology="flat"), LabMark(kernels=("5.10",))])
def test_mark_with_unknown_names_is_an_error(mark: LabMark) -> None:
    with pytest.raises(pytest.UsageError, match=r"no (topology|kernel)"):
        mark.guests()
