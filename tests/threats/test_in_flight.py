"""Too many fds on their way, by the kernel's own count: it is per user, and the user is isod's."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from isod.client.errors import ConnectionLost
from isod.kernel.simulated.hosts import E1000E, HOST_BRIDGE, NVME, ROOT_PORT
from isod.kernel.simulated.topology import Place, SimulatedHost
from isod.wire import packet
from tests.walk.borrowers import where
from tests.walk.conftest import Start
from tests.walk.daemon import Process
from tests.walk.line import Line
from tests.walk.machine import SimulatedMachine
from tests.walk.manager import Manager
from tests.walk.policy import EVERYTHING
from tests.walk.stage import Stage

pytestmark = pytest.mark.slow  # starts daemons, and waits for one to lose its patience

# So many may isod have open, and on their way: enough for itself, too few for three wide groups.
OPEN_FILES = 96
WIDE = 32
BUSES = ("01", "02", "03")
HOST = SimulatedHost(
    about="Three groups of many functions, whose leases come with many fds, and one of a disk.",
    places=(
        Place("00:00.0", HOST_BRIDGE, group=0),
        *(Place(f"00:{bus}.0", ROOT_PORT, group=int(bus), below=bus) for bus in (*BUSES, "04")),
        *(
            Place(f"{bus}:{number // 8:02x}.{number % 8}", E1000E, group=10 + int(bus))
            for bus in BUSES
            for number in range(WIDE)
        ),
        Place("04:00.0", NVME, group=14, serial="S1"),
    ),
)
SINGLE = "0000:04:00.0"
# Sends a fd to nobody and says how that went.
TRY = """
import array, socket
near, far = socket.socketpair()
try:
    near.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
    print(0)
except OSError as error:
    print(error.errno)
"""


def confined(command: Sequence[str]) -> list[str]:
    """Without CAP_SYS_RESOURCE and CAP_SYS_ADMIN, either of which lifts the limit. What others of
    this user have on their way counts as well: that is soon over, and only makes it wait."""
    limited = ["prlimit", f"--nofile={OPEN_FILES}", *command]
    if os.geteuid() != 0:
        return limited
    return ["setpriv", "--bounding-set=-sys_resource,-sys_admin", *limited]


def confined_daemon(arguments: Sequence[str], manager: Manager | None = None) -> Process:
    assert manager is None
    return subprocess.Popen(
        confined([sys.executable, "-m", "isod.cli.isod", "serve", *arguments]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kernel_says() -> int:
    """The errno that isod's user gets for sending one more fd."""
    ran = subprocess.run(
        confined([sys.executable, "-I", "-S", "-c", TRY]), stdout=subprocess.PIPE, check=True
    )
    return int(ran.stdout)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage(
        lambda folder: SimulatedMachine(folder, HOST, {"single": SINGLE}),
        EVERYTHING,
        launch=confined_daemon,
    )
    stage.start()
    yield stage
    stage.close()


def take_and_not_read(stage: Stage, line: Line) -> None:
    """Have a lease of each wide group in one's socket."""
    for number, bus in enumerate(BUSES):
        names = [f"pci:0000:{bus}:{at // 8:02x}.{at % 8}" for at in range(WIDE)]
        devices = [{"address": name} for name in names]
        line.call("lease.acquire", number, devices=devices, hand_over="iommufd")
        stage.daemon.wait_for("lease.granted", f"0000:{bus}:00.0")
        stage.daemon.until(lambda: delivered(stage) == number + 1, "not sent")  # noqa: B023


def delivered(stage: Stage) -> int:
    return sum(lease.state == "leased" for lease in stage.control.leases())


def test_replies_with_fds_that_nobody_reads_and_the_kernel_takes_no_more(
    stage: Stage, borrower: Start
) -> None:
    """Others wait until they are read; who wants no fds does not wait."""
    client = borrower()
    client.connect(stage)
    with stage.line() as line:
        take_and_not_read(stage, line)
        assert kernel_says() == errno.ETOOMANYREFS
        client.begin("acquire", devices=[SINGLE], hand_over="iommufd")
        stage.daemon.wait_for("lease.granted", SINGLE)
        assert stage.control.info().leases == len(BUSES) + 1
        for _ in BUSES:
            received = line.receive()
            assert received is not None
            packet.close_all(received[1])
        assert client.answer()["state"] == "leased"
        client.do("use", what="bind")
        client.do("release")
    stage.until_restored()


def test_replies_with_fds_that_nobody_reads_and_the_kernel_takes_none_for_long(
    stage: Stage, borrower: Start
) -> None:
    """Who cannot be given its files is disconnected, and its lease ends: nothing is half given."""
    client = borrower()
    client.connect(stage)
    with stage.line() as line:
        take_and_not_read(stage, line)
        with pytest.raises(ConnectionLost):
            client.do("acquire", devices=[SINGLE], hand_over="iommufd")
        assert kernel_says() == errno.ETOOMANYREFS
        stage.daemon.until(lambda: stage.group_state(SINGLE) == "host", "its lease did not end")
    stage.daemon.until(lambda: kernel_says() == 0, "still on their way")
    client.do("connect", **where(stage))
    assert client.do("acquire", devices=[SINGLE])["state"] == "leased"
    client.do("release")
    stage.until_restored()
