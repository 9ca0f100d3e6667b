"""A log that cannot be written to ends nothing, and what it lost is said."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import pytest

from isod.daemon.journal import SteadyJournal, StreamJournal, open_journal
from isod.daemon.store import Store
from isod.daemon.world import World
from isod.model.effect import Deliver, Effect
from isod.model.event import Granted, Prepared
from tests.unit.core.build import at, device, host, lease_for

from .test_connections import Log

HOST = host(device("01:00.0", 1, "e1000e"))


class Failing(Log):
    """Takes no record for as long as ``fails``."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = True

    def record(self, kind: str, message: str, **fields: str | int) -> None:
        if self.fails:
            raise OSError(errno.EMFILE, "Too many open files")
        super().record(kind, message, **fields)


@contextmanager
def nobody_reads() -> Iterator[None]:
    """Standard error is a pipe whose reader is gone."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.close(reading)
    with io.FileIO(writing, "w") as raw:
        text = io.TextIOWrapper(raw, write_through=True)
        with redirect_stderr(text):
            yield
        text.detach()


def test_what_was_lost_is_said_when_records_are_taken_again() -> None:
    log = Failing()
    journal = SteadyJournal(log)
    for _ in range(3):
        journal.record("daemon", "never seen")
    log.fails = False
    journal.record("daemon", "seen")
    journal.record("daemon", "and again")
    assert log.lines == [
        "daemon: 3 records of the log were lost: Too many open files",
        "daemon: seen",
        "daemon: and again",
    ]


def test_a_reader_of_standard_error_that_has_gone_is_no_end() -> None:
    with nobody_reads(), pytest.raises(BrokenPipeError):
        StreamJournal().record("daemon", "to nobody")
    with nobody_reads():
        SteadyJournal(StreamJournal()).record("daemon", "to nobody")


def test_the_journal_that_isod_opens_is_steady() -> None:
    assert isinstance(open_journal(), SteadyJournal)


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        SteadyJournal(StreamJournal()).record("lease.unheard", "never said")


def test_a_grant_that_the_log_cannot_take_is_on_record_in_its_row(tmp_path: Path) -> None:
    """The row has rule, owner and devices, and is written before anything is delivered."""
    store = Store(tmp_path)
    world = World(store, SteadyJournal(Failing()), HOST)
    rows: list[str] = []

    def carry_out(effect: Effect) -> None:
        if isinstance(effect, Deliver):
            rows.extend(f"{one.id} {one.rule} {one.state}" for one in store.leases()[0])

    world.carry_out = carry_out
    lease = lease_for(HOST, "L1", (at("01:00.0"),), None, 0)
    world.apply(Granted(lease))
    latest = world.publisher.ring.latest
    world.apply(Prepared("L1", (), lease.devices))
    assert rows == [f"L1 {lease.rule} leased"]
    assert world.publisher.ring.latest == latest + 1, "who subscribed is told all the same"
    store.close()
