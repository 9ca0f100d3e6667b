"""A daemon, several crowds of clients, and what has to stay as it is meanwhile."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic

from isod.daemon.executor import THREADS
from tests.walk import policy
from tests.walk.stage import Stage
from tests.walk.test_cycles import Holdings, holdings

from .machine import soak_machine
from .reader import Reader

# One user each, so that the limits by user are between them.
_FIRST_UID = 61_000
_EACH = 25
_SILENCE_SECONDS = 120.0
_KILL_SECONDS = 5.0
# After the first rest: the latest 4,096 events are kept, of some 1,400 leases, and allocators
# keep what the greatest crowd needed. A million operations are some 18,000 leases: a leak of
# 1 KiB a lease is more than this.
_GROWTH = 16 << 20
# As many may be at work at once: the executor's, those that read what the host needs, and for holds
# that the service manager takes and for all else as many as trio allows; it keeps idle ones for 10
# seconds, so that a rest may see any number of them.
_THREADS = THREADS + 4 + 40
_REPOSITORY = Path(__file__).parents[2]
RULES = policy.EVERYTHING + "[limits]\nconnections_per_uid = 64\nleases_per_uid = 64\n"


@dataclass(frozen=True, slots=True)
class Rest:
    """What the daemon has while nobody wants anything of it, after so many operations."""

    operations: int
    seconds: float
    holdings: Holdings

    def line(self) -> str:
        held = self.holdings
        return (
            f"{self.operations:>9} operations, {self.seconds:6.0f} s: {held.fds.total()} fds, "
            f"{held.threads} threads, {held.children} children, {held.resident >> 10} KiB"
        )


class Crowd:
    """One process of clients, seen from the soak."""

    def __init__(self, stage: Stage, owners: Path, uid: int, clients: int, seed: int) -> None:
        words = [str(stage.socket), str(owners), str(uid), str(clients), str(seed)]
        self.uid = uid
        self.has_begun = False  # whether it has done anything; on a busy machine that takes a while
        self._errors = (stage.folder / f"crowd-{uid}-{seed}.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.crowd", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=_REPOSITORY,
        )

    @property
    def lines(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def order(self) -> None:
        """Rest, or begin anew."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def complaint(self) -> str:
        """What it said when it ended by itself."""
        self._process.wait()
        self._errors.seek(0)
        return f"crowd {self.uid} ended ({self._process.returncode}):\n{self._errors.read()}"

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._errors.close()


class Soak:
    """``run`` does it; ``totals`` says what the clients have done, ``rests`` what was seen, and
    ``records`` how often the daemon has said what. A service manager keeps its holds meanwhile."""

    def __init__(self, clients: int, seed: int, say: Callable[[str], None] = print) -> None:
        self.totals: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self.rests: list[Rest] = []
        self._random = Random(seed)
        self._sizes = [_EACH] * (clients // _EACH) + [clients % _EACH] * bool(clients % _EACH)
        self._say = say

    def run(self, operations: int, rests: int) -> None:
        """Raises AssertionError with what did not hold."""
        stage = Stage(soak_machine, RULES, managed=True)
        with ExitStack() as stack:
            stack.callback(stage.close)
            owners = stage.folder / "owners"
            owners.mkdir()
            owners.chmod(0o777)
            reader = Reader(stage.start().log)
            stack.callback(lambda: self.records.update(reader.kinds))
            began = monotonic()
            crowds = [
                self._crowd(stage, owners, index, clients)
                for index, clients in enumerate(self._sizes)
            ]
            stack.callback(_kill, crowds)
            for rest in range(1, rests + 1):
                self._until(stage, owners, crowds, operations * rest // rests, reader)
                self._rest(stage, crowds, monotonic() - began, reader)

    def _crowd(self, stage: Stage, owners: Path, index: int, clients: int) -> Crowd:
        seed = self._random.randrange(1 << 31)
        return Crowd(stage, owners, _FIRST_UID + index, clients, seed)

    def _until(
        self, stage: Stage, owners: Path, crowds: list[Crowd], operations: int, reader: Reader
    ) -> None:
        """Let them, and kill one now and then, until so many operations were done."""
        kill_at = monotonic() + _KILL_SECONDS
        while self.totals["operations"] < operations:
            self._read(crowds)
            begun = [index for index, crowd in enumerate(crowds) if crowd.has_begun]
            if monotonic() > kill_at and begun:
                kill_at = monotonic() + _KILL_SECONDS
                index = self._random.choice(begun)
                crowds[index].kill()
                self.totals["clients killed"] += self._sizes[index]
                self.totals["operations"] += self._sizes[index]
                crowds[index] = self._crowd(stage, owners, index, self._sizes[index])
                reader.judge()
                assert stage.daemon.alive

    def _rest(self, stage: Stage, crowds: list[Crowd], seconds: float, reader: Reader) -> None:
        """Everybody lets go; then the daemon has what it had at the first rest."""
        for crowd in crowds:
            crowd.order()
        resting: set[Crowd] = set()
        while len(resting) < len(crowds):
            resting |= self._read([crowd for crowd in crowds if crowd not in resting])
        stage.until_quiet()
        reader.judge()
        self._until_at_rest(stage)
        assert stage.manager is not None
        stage.daemon.until(lambda: _nothing_kept(stage), "the service manager keeps a hold")
        removed = sum("FDSTOREREMOVE=1" in text for text in stage.manager.told)
        self.totals["holds taken from the service manager"] = removed
        self.rests.append(Rest(self.totals["operations"], seconds, holdings(stage)))
        self._say(self.rests[-1].line())
        first, now = self.rests[0].holdings, self.rests[-1].holdings
        assert now.fds == first.fds, now.fds - first.fds
        assert now.children == first.children
        assert now.threads <= max(first.threads, _THREADS)
        assert now.resident - first.resident <= _GROWTH
        for crowd in crowds:
            crowd.order()

    def _until_at_rest(self, stage: Stage) -> None:
        """It looks at devices now and then, also when nobody is there."""
        if self.rests:
            usual = self.rests[0].holdings.fds
            stage.daemon.until(lambda: stage.daemon.fds() == usual, f"not {usual} again")

    def _read(self, crowds: list[Crowd]) -> set[Crowd]:
        """Take in what at least one of them has to say; those that rest."""
        resting = set()
        with selectors.DefaultSelector() as selector:
            for crowd in crowds:
                selector.register(crowd.lines, selectors.EVENT_READ, crowd)
            ready = selector.select(_SILENCE_SECONDS)
        assert ready, "no client says anything"
        for key, _ in ready:
            told: Crowd = key.data
            data = os.read(told.lines, 1 << 16)
            assert data, told.complaint()
            for line in data.splitlines():
                said = json.loads(line)
                if said == "resting":
                    resting.add(told)
                else:
                    self.totals.update(said)
                    told.has_begun |= bool(said)
        return resting


def _nothing_kept(stage: Stage) -> bool:
    manager = stage.manager
    assert manager is not None
    assert not manager.dropped, "it had no room for a hold"
    manager.drop_what_hung_up()
    return not manager.kept


def _kill(crowds: list[Crowd]) -> None:
    for crowd in crowds:
        crowd.kill()
