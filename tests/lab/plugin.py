"""pytest in two places: the outer run schedules lab tests into guests, the inner one runs them.

Outside, every test with the lab mark becomes one item per guest, with the same node id as inside
(`test_x[7.2-standard]`). Guests boot in the background as soon as the run begins; the lab's items
come last, so that the quick tests overlap with the boots, and each item replays the reports that
its guest sent. Inside (`ISOD_LAB_GUEST` is set), the mark only adds this guest's parameter.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bytecode import compile_checkout
from tests.lab.cache import cache_directory
from tests.lab.hardware import Hardware
from tests.lab.kernels import cached_kernel
from tests.lab.protocol import Task
from tests.lab.schedule import End, Group, Report, Schedule
from tests.lab.selection import GuestName, guest_here, lab_mark

_PARAMETER = "lab_guest"
_FOR_TESTS = ("ISOD_SEED", "ISOD_SEQUENCES", "ISOD_KILLS")


@pytest.fixture(scope="session")
def lab_guest(request: pytest.FixtureRequest) -> GuestName:
    """The guest that the test runs in: kernel and topology."""
    guest: GuestName = request.param
    return guest


@pytest.fixture
def hardware(lab_guest: GuestName) -> Hardware:
    """The topology's devices, by shape."""
    return Hardware()


@pytest.fixture(scope="session")
def uapi_headers() -> Path:
    """The uapi headers of the lab's own kernel, for a C compiler."""
    kernel = cached_kernel("7.2")
    if kernel is None or kernel.headers is None:
        pytest.skip("the lab's kernel was not built yet: `make lab-setup` does it")
    return kernel.headers


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = lab_mark(metafunc.definition)
    if mark is None or not mark.guest:
        return
    guests = mark.guests()
    here = guest_here()
    if here is not None:
        guests = [guest for guest in guests if guest == here]
    if _PARAMETER not in metafunc.fixturenames:
        metafunc.fixturenames.append(_PARAMETER)
    metafunc.parametrize(_PARAMETER, guests, ids=str, indirect=True, scope="session")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "lab(kernels, topology, limit, guest): runs on a real kernel inside a guest"
    )
    if guest_here() is None:
        config.pluginmanager.register(Outer(config), "isod-lab-outer")


class Outer:
    """The outer run's part."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._schedule: Schedule | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Tests that boot guests of their own come last of all, when the others are done.
        def place(item: pytest.Item) -> int:
            mark = lab_mark(item)
            return 0 if mark is None else 1 if mark.guest else 2

        items.sort(key=place)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        groups = _groups(session.items)
        if groups and not session.testsfailed and not self._config.option.collectonly:
            self._schedule = Schedule(groups, self._command)
            _replay_in_order(session.items, self._schedule.groups)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, _end_as_if_interrupted)
            compile_checkout()
            self._schedule.start()
        try:
            return (yield)
        finally:
            if self._schedule is not None:
                self._schedule.stop()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Freezes are the machine's and fail nothing, but nobody shall overlook them."""
        freezes = [] if self._schedule is None else self._schedule.freezes
        if freezes:
            terminalreporter.section(f"lab: {len(freezes)} guests froze", red=True, bold=True)
            for freeze in freezes:
                terminalreporter.write_line(freeze)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if self._schedule is None or _guest_of(item) is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        phases = []
        while isinstance(news := self._schedule.next_news(item.nodeid), Report):
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=news.data
            )
            if isinstance(report.longrepr, list):
                # The place and reason of a skip: a tuple, which JSON made a list of.
                report.longrepr = tuple(report.longrepr)
            phases.append(report.when)
            item.ihook.pytest_runtest_logreport(report=report)
        if news.trouble is not None:
            report = _failure(item, news, phases)
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _command(self, group: Group, directory: Path) -> list[str]:
        tests = list(group.limits)
        task = Task(
            guest=group.name.variable(),
            tests=tests,
            files=list(dict.fromkeys(str(self._path(test)) for test in tests)),
            options=self._options(),
            cache=str(cache_directory()),
            variables=_variables(),
        )
        path = directory / "task.json"
        task.write(path)
        return [sys.executable, "-B", "-m", "tests.lab.agent", str(path)]

    def _path(self, test: str) -> Path:
        return self._config.rootpath / test.split("::", 1)[0]

    def _options(self) -> list[str]:
        """What of this run's options changes what a test does or how its failure reads."""
        option = self._config.option
        options = ["-v", f"--rootdir={self._config.rootpath}", f"--tb={option.tbstyle}"]
        if self._config.inipath is not None:
            options += ["-c", str(self._config.inipath)]
        if option.showlocals:
            options.append("--showlocals")
        for name in option.override_ini or ():
            options += ["-o", name]
        for warning in option.pythonwarnings or ():
            options += ["-W", warning]
        return options


def _variables() -> dict[str, str]:
    """What of this run's environment is meant for tests in guests."""
    return {name: os.environ[name] for name in _FOR_TESTS if name in os.environ}


def _end_as_if_interrupted(number: int, _: object) -> None:
    """So that whoever stops the run stops its guests."""
    pytest.exit(f"ended by signal {number}", returncode=128 + number)


def _guest_of(item: pytest.Item) -> GuestName | None:
    """The guest of a lab item, or nothing for an ordinary test."""
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        guest = item.callspec.params.get(_PARAMETER)
        return guest if isinstance(guest, GuestName) else None
    return None


def _groups(items: list[pytest.Item]) -> list[Group]:
    groups: dict[GuestName, Group] = {}
    for item in items:
        guest = _guest_of(item)
        mark = lab_mark(item)
        if guest is not None and mark is not None:
            group = groups.setdefault(guest, Group(guest))
            group.limits[item.nodeid] = mark.limit
    return list(groups.values())


def _replay_in_order(items: list[pytest.Item], groups: list[Group]) -> None:
    """Put the guests' items into the order in which the guests run, each where one was before."""
    order = {group.name: place for place, group in enumerate(groups)}
    places = [place for place, item in enumerate(items) if _guest_of(item) is not None]
    sorted_items = sorted(
        (items[place] for place in places),
        key=lambda item: order[guest] if (guest := _guest_of(item)) else 0,
    )
    for place, item in zip(places, sorted_items, strict=True):
        items[place] = item


def _failure(item: pytest.Item, end: End, phases: list[str]) -> pytest.TestReport:
    """A report for a test that its guest did not bring to an end."""
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed",
        longrepr=end.trouble,
        # pytest counts a failed call as the test's outcome, and a failed teardown beside it.
        when="teardown" if "call" in phases else "call",
        sections=[],
        duration=0,
    )
