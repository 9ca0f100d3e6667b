"""Runs groups of tests in guests, at most a few at a time, in background threads.

Whoever waits for a test takes its news from the mailbox; there is exactly one *end* per test.
"""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.accelerator import kvm_works
from tests.lab.boot import FrozenError, Guest, GuestError, Machine
from tests.lab.cache import guest_limit, guest_slot, say
from tests.lab.kernels import BUILT, cached_kernel, ensure_kernel
from tests.lab.protocol import Event
from tests.lab.qemu import require_qemu
from tests.lab.selection import GuestName
from tests.lab.topology import TOPOLOGIES

# From starting QEMU to the first event, a stock kernel with udev, on a busy machine.
BOOT_PATIENCE = 300.0
# Between the tests: collection, and the fixtures that pytest ends after the last report.
IDLE_PATIENCE = 300.0


_CONSOLE = "--- the end of the guest's console ---"


@dataclass(frozen=True)
class Report:
    """One phase of a test, as pytest serialized it in the guest."""

    data: dict[str, Any]


@dataclass(frozen=True)
class End:
    """Nothing more comes of the test. *trouble* says why, if it did not come to its own end."""

    trouble: str | None = None


@dataclass
class Group:
    """The tests of one guest, and how long each may take."""

    name: GuestName
    limits: dict[str, float] = field(default_factory=dict)


# Says what root runs in the guest, given the group and a directory that the guest can read.
Command = Callable[[Group, Path], list[str]]


class GroupRun:
    """Feeds the mailboxes of one group from its guest, or from a second one if that froze."""

    def __init__(self, group: Group, mailboxes: Mapping[str, "queue.Queue[Report | End]"]) -> None:
        self._group = group
        self._mailboxes = mailboxes
        self._unfinished = dict(group.limits)
        self._reports: defaultdict[str, list[Report]] = defaultdict(list)
        self._patience = BOOT_PATIENCE
        self._troubles: list[str] = []
        self._froze = ""

    @property
    def left(self) -> Group:
        """What has not come to its end."""
        return Group(self._group.name, dict(self._unfinished))

    def follow(self, guest: Guest, command: list[str]) -> str | None:
        """Returns how the guest froze if it did and what is left is worth a second guest.

        A freeze is the machine's: no test can hang so that timers stop. But what freezes every
        guest is a test's fault, so the second time it fails what is left.
        """
        self._patience = BOOT_PATIENCE
        self._reports.clear()
        try:
            for event in guest.events(command, lambda: self._patience):
                self.take(event)
        except FrozenError as error:
            how = f"{error}\n{guest.processors()}\n{_CONSOLE}\n{guest.tail()}"
            if self._unfinished and not self._froze:
                self._froze = how
                return how
            self.fail(f"the second guest, too: {how}\n--- the first one ---\n{self._froze}")
        except GuestError as error:
            self.fail(str(error), guest.tail())
        else:
            self.fail("the guest finished without running this test", guest.tail())
        return None

    def take(self, event: Event) -> None:
        kind = event["event"]
        self._patience = IDLE_PATIENCE
        if kind == "start":
            self._patience = self._group.limits.get(event["test"], IDLE_PATIENCE)
        elif kind == "report":
            self._reports[event["test"]].append(Report(event["report"]))
            # The next phase of the same test has its whole limit too.
            self._patience = self._group.limits[event["test"]]
        elif kind == "done":
            # Only now: a second guest would tell the first phases of a test again.
            del self._unfinished[event["test"]]
            self._deliver(event["test"], End())
        elif kind == "trouble":
            self._troubles.append(event["text"])

    def fail(self, why: str, tail: str = "") -> None:
        """Give every test that has not come to its end this one."""
        text = "\n".join([f"guest {self._group.name.variable()}: {why}", *self._troubles])
        if tail:
            text += f"\n{_CONSOLE}\n{tail}"
        for test in self._unfinished:
            self._deliver(test, End(text))
        self._unfinished.clear()

    def _deliver(self, test: str, end: End) -> None:
        for report in self._reports.pop(test, ()):
            self._mailboxes[test].put(report)
        self._mailboxes[test].put(end)


class Schedule:
    """All groups of a run. `start` returns at once; `stop` ends whatever still runs."""

    def __init__(self, groups: list[Group], command: Command) -> None:
        # A kernel that must be built takes longest by far, so its guests come first.
        self.groups = sorted(groups, key=lambda group: group.name.kernel != BUILT)
        self.freezes: list[str] = []
        """How guests froze that others were started for."""
        self._command = command
        self._mailboxes: dict[str, queue.Queue[Report | End]] = {
            test: queue.Queue() for group in groups for test in group.limits
        }
        self._guests: set[Guest] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=guest_limit(), thread_name_prefix="lab-guest")

    def start(self) -> None:
        for group in self.groups:
            self._pool.submit(self._run, group)

    def next_news(self, test: str) -> Report | End:
        return self._mailboxes[test].get()

    def stop(self) -> None:
        with self._lock:
            self._stopped.set()
            guests = list(self._guests)
        for guest in guests:
            guest.end()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, group: Group) -> None:
        run = GroupRun(group, self._mailboxes)
        try:
            require_qemu()
            kernel = cached_kernel(group.name.kernel) or ensure_kernel(group.name.kernel)
            topology = TOPOLOGIES[group.name.topology]
            machine = Machine(kernel, topology, use_kvm=kvm_works(kernel))
            with guest_slot(self._stopped) as free:
                if not free:
                    return
                froze = self._follow(run, group, machine)
                if froze is not None and not self._stopped.is_set():
                    left = run.left
                    text = f"guest {group.name.variable()} froze with {len(left.limits)} tests left"
                    say(f"{text}: they get a fresh one, once")
                    self.freezes.append(f"{text}: {froze}")
                    self._follow(run, left, machine)
        # The thread's end is nobody's news: whatever goes wrong must reach the waiting tests.
        except BaseException as error:
            run.fail(f"could not be run: {type(error).__name__}: {error}")
            raise

    def _follow(self, run: GroupRun, group: Group, machine: Machine) -> str | None:
        guest = Guest(machine)
        with self._lock:
            if not self._stopped.is_set():
                self._guests.add(guest)
        try:
            if guest in self._guests:
                return run.follow(guest, self._command(group, guest.directory))
        finally:
            with self._lock:
                self._guests.discard(guest)
            guest.discard()
        return None
