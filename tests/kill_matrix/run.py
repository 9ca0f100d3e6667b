"""One walk with one kill, judged; and once more during the recovery, if asked for."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from isod.client.errors import Refused
from isod.kernel.simulated.hosts import STANDARD
from tests.lab.selection import guest_here
from tests.walk.borrowers import Borrowers
from tests.walk.machine import STANDARD_SHAPES, LinuxMachine, Machine, SimulatedMachine
from tests.walk.stage import Stage

from . import judge
from .launcher import Launcher
from .scene import Scene
from .tap import Victim
from .walks import WALKS, Walk, is_lost

_END_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Kill:
    """What is killed when: the n-th call from the walk's request on (0: none), and the n-th of the
    daemon that was started then (0: none)."""

    walk: str
    at: int = 0
    victim: Victim = "daemon"
    again_at: int = 0

    def __str__(self) -> str:
        again = f", then at its recovery's {self.again_at}" if self.again_at else ""
        return f"{self.walk}: {self.victim} at call {self.at}{again}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``killed`` and ``killed_again`` are the calls at which it was killed; None: it came to its
    end before. ``calls`` are those of the walk, ``helper_calls`` those of its helpers among them,
    and ``recovery_calls`` those of the daemon that was started next until it had recovered."""

    kill: Kill
    killed: str | None
    killed_again: str | None
    calls: int
    helper_calls: int
    recovery_calls: int
    violation: str | None
    seconds: float


def run(kill: Kill, launcher: Launcher, borrowers: Borrowers, *, once_more: bool = True) -> Outcome:
    """Walk, kill, start again, and judge; ``once_more``: and then the whole walk without a kill
    (where machines are used again, the next run does that)."""
    began = monotonic()
    walk = WALKS[kill.walk]
    stage = Stage(_machine, walk.rules, managed=walk.managed, launch=launcher)
    one = _Run(kill, walk, Scene(stage, borrowers), launcher)
    one.once_more = once_more
    violation = None
    try:
        one.run()
    except Exception:  # noqa: BLE001 - whatever goes wrong is what we are looking for
        violation = "\n".join([*one.said[-30:], traceback.format_exc()])
    try:
        one.close()
    except Exception:  # noqa: BLE001 - as above
        violation = violation or traceback.format_exc()
    return Outcome(
        kill,
        one.killed,
        one.killed_again,
        one.calls,
        one.helper_calls,
        one.recovery_calls,
        violation,
        monotonic() - began,
    )


def _machine(folder: Path) -> Machine:
    return LinuxMachine() if guest_here() else SimulatedMachine(folder, STANDARD, STANDARD_SHAPES)


class _Run:
    def __init__(self, kill: Kill, walk: Walk, scene: Scene, launcher: Launcher) -> None:
        self._kill = kill
        self._walk = walk
        self._scene = scene
        self._launcher = launcher
        self._leases: set[str] = set()
        self.once_more = True
        self.said: list[str] = []
        self.killed: str | None = None
        self.killed_again: str | None = None
        self.calls = self.helper_calls = self.recovery_calls = 0

    def run(self) -> None:
        scene, walk = self._scene, self._walk
        scene.stage.start()
        walk.prepare(scene)
        self._walk_counted()
        if self._kill.victim != "helper":
            self._end_daemon()
            self._recover(self._kill.again_at)
            if self.killed_again is not None:
                self._end_daemon()
                self._recover(0)
            scene.stage.greet()
            judge.after_restart(scene, self._leases, self.said)
        walk.go_on(scene)
        self._leave()
        if self.once_more:  # nothing is in the way
            walk.prepare(scene)
            walk.go(scene)
            walk.go_on(scene)
            self._leave()

    def _walk_counted(self) -> None:
        tap = self._launcher.tap
        tap.arm(self._kill.at, self._kill.victim)
        self._until_killed(lambda: self._walk.go(self._scene))
        self.calls = tap.disarm()
        self.helper_calls = sum(point.role == "helper" for point in tap.points)
        self.killed = None if tap.killed is None else str(tap.killed)

    def _recover(self, kill_at: int) -> None:
        """Let the next daemon recover, counted, until whatever has to end has ended."""
        scene = self._scene
        rows = judge.rows(scene)
        self._leases |= rows.keys()
        staying = {party.lease for party in scene.parties if party.holds}
        ending = rows.keys() - (staying - self._walk.doomed(scene, rows))
        self._launcher.kill_next_at = kill_at
        scene.stage.begin()
        tap = self._launcher.tap

        def recover() -> None:
            scene.stage.daemon.until_it_listens()
            for lease in ending:
                scene.until_said("lease.ended", lease)

        self._until_killed(recover)
        self.recovery_calls = max(self.recovery_calls, tap.disarm())
        if tap.killed is not None:
            self.killed_again = str(tap.killed)

    def _until_killed(self, act: Callable[[], None]) -> None:
        """Whoever deals with a daemon that is killed sees an error; without a kill it is one.
        Where only a helper is killed its daemon may refuse."""
        try:
            act()
        except Exception as error:
            tap = self._launcher.tap
            refused = isinstance(error, Refused) or self._kill.victim != "helper"
            if tap.killed is None or not refused or not is_lost(error):
                raise

    def _end_daemon(self) -> None:
        """It may be dead already. What it has said is kept."""
        daemon = self._scene.stage.daemon
        self._scene.stage.kill()
        self.said += daemon.log

    def _leave(self) -> None:
        self._scene.let_go()
        judge.at_the_end(self._scene, self.said)
        self._scene.leave()

    def close(self) -> None:
        self._scene.leave()
        stage = self._scene.stage
        if stage.is_up:
            self._end_daemon()
        ended = self._launcher.tap.ended(_END_SECONDS)
        stage.close()
        assert ended, "a helper does not end"
