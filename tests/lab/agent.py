"""Runs inside the guest, as root: loads modules, runs the selected tests, reports each of them.

`python -m tests.lab.agent TASK`, or `--probe` to say only that the guest came up.
"""

import os
import select
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType

import pytest

from tests.lab.cache import CACHE_VARIABLE
from tests.lab.protocol import GUEST_VARIABLE, PORT_NAME, Event, Task, encode
from tests.lab.pulse import Pulse

# Stock kernels have these as modules; where they are built in, modprobe has nothing to do.
# vfio-pci brings no container backend by itself.
DRIVERS = ("nvme", "e1000", "e1000e", "igb")
MODULES = ("virtio_console", "vfio-pci", "vfio_iommu_type1", *DRIVERS)


class Port:
    """The line to the host. If the host's end goes away, so does the guest."""

    def __init__(self) -> None:
        self._file = os.open(_find_port(), os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Lock()
        threading.Thread(target=self._follow_host, daemon=True).start()

    def __enter__(self) -> "Port":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Not closed: the thread still polls it, and the guest is about to power off.
        return

    def send(self, event: Event) -> None:
        line = memoryview(encode(event))
        with self._lock:
            while line:
                line = line[os.write(self._file, line) :]

    def _follow_host(self) -> None:
        poll = select.poll()
        poll.register(self._file, 0)
        poll.poll()
        subprocess.run(["poweroff", "-f"], check=False)


def _find_port() -> Path:
    # udev would make a link of that name; without it the class directory still knows.
    for port in Path("/sys/class/virtio-ports").iterdir():
        name = port / "name"
        if name.exists() and name.read_text().strip() == PORT_NAME:
            return Path("/dev") / port.name
    raise FileNotFoundError(f"this guest has no virtio port {PORT_NAME}")


def prepare() -> None:
    """What the initial process of the guest leaves undone."""
    for module in MODULES:
        subprocess.run(["modprobe", "-q", module], check=False)
    # The host's home may be unreadable, and nothing of the host's should be read anyway.
    home = Path("/run/isod-lab-home")
    home.mkdir(exist_ok=True)
    programs = Path(sys.executable).parent
    path = f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # Cleared: tests must not depend on what virtme-ng's initial process leaves there.
    os.environ.clear()
    os.environ.update(HOME=str(home), PATH=path, LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")


class Reporter:
    """A pytest plugin that narrows the collection to the task and reports over the port."""

    def __init__(self, port: Port, tests: list[str]) -> None:
        self._port = port
        self._wanted = set(tests)
        self._config: pytest.Config | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._wanted]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            text = f"collection of {report.nodeid} failed in the guest:\n{report.longreprtext}"
            self._port.send({"event": "trouble", "text": text})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._port.send({"event": "start", "test": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        assert self._config is not None
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._port.send({"event": "report", "test": report.nodeid, "report": data})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._port.send({"event": "done", "test": nodeid})

    def pytest_internalerror(self, excrepr: object) -> None:
        self._port.send({"event": "trouble", "text": f"pytest failed in the guest:\n{excrepr}"})


def run(task: Task, port: Port) -> int:
    os.environ[GUEST_VARIABLE] = task.guest
    os.environ[CACHE_VARIABLE] = task.cache
    os.environ.update(task.variables)
    arguments = ["-p", "no:cacheprovider", "-p", "tests.lab.plugin", *task.options, *task.files]
    return int(pytest.main(arguments, plugins=[Reporter(port, task.tests)]))


def main() -> None:
    prepare()
    with Port() as port:
        status = 1
        port.send({"event": "ready", "release": os.uname().release})
        Pulse(lambda: port.send({"event": "beat"})).start()
        try:
            status = 0 if sys.argv[1] == "--probe" else run(Task.read(Path(sys.argv[1])), port)
        except BaseException:
            port.send({"event": "trouble", "text": traceback.format_exc()})
            raise
        finally:
            port.send({"event": "finished", "status": status})


if __name__ == "__main__":
    main()
