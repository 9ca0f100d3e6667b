"""Who asks: names that users choose, processes that are gone, and others who act in their name."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from isod.client.errors import Refused
from isod.daemon import identify
from isod.daemon.identify import Identity
from isod.daemon.socket_option import socket_option
from isod.model.method import METHODS
from isod.model.reason import Reason
from tests.unit.policy.asking import ALICE, rule, says, trial
from tests.unit.wire.open_files import open_fds
from tests.walk.conftest import Start
from tests.walk.stage import Stage

FWD = trial(rule("fwd", who='[{ unit = ["fwd.service"] }]'))
NOT_EVIL = trial(rule("evil", "deny", who='[{ unit = ["evil.service"] }]'), rule("anyone"))


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end and the daemon's, of a connection that was made over a listener."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind("")  # an abstract name of the kernel's choice
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ours:
            ours.connect(listener.getsockname())
            theirs, _ = listener.accept()
            with theirs:
                yield ours, theirs


@contextmanager
def connected_by_one_that_is_gone() -> Iterator[tuple[int, socket.socket]]:
    """The pid of a process that has connected, ended, and been reaped, and the daemon's end. What
    it has passed on may still speak."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind("")
        listener.listen()
        name = listener.getsockname()
        near, far = socket.socketpair()
        with near, far:
            program = (
                "import socket, sys\n"
                "peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                f"peer.connect({name!r})\n"
                f"passed = socket.socket(fileno={far.fileno()})\n"
                "socket.send_fds(passed, [b'x'], [peer.fileno()])\n"
            )
            process = subprocess.Popen([sys.executable, "-c", program], pass_fds=[far.fileno()])
            assert process.wait(60) == 0
            _, [passed_on], _, _ = socket.recv_fds(near, 1, 1)
            theirs, _ = listener.accept()
            with theirs, socket.socket(fileno=passed_on):
                yield process.pid, theirs


def proc_with(folder: Path, pid: int, cgroup: str) -> Path:
    """A /proc in which a process runs under this pid, in this cgroup."""
    (folder / str(pid)).mkdir()
    (folder / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")
    return folder


@contextmanager
def identified(connection: socket.socket) -> Iterator[Identity]:
    who = identify.identify(connection)
    try:
        yield who
    finally:
        who.close()


def decision(rules: Any, who: Identity) -> str:
    return says(rules, who.peer, "01:00.0")


# --- names that users choose --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cgroup", "said"),
    [
        ("/system.slice/fwd.service", "allowed by fwd"),
        ("/system.slice/fwd.service/worker", "allowed by fwd"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/fwd.service", "refused: denied"),
        ("/user.slice/user-1000.slice/user@1000.service/fwd.service/x", "refused: denied"),
        ("/user.slice/user-1000.slice/session-3.scope/fwd.service", "refused: denied"),
        ("/system.slice/delegated.service/fwd.service", "refused: denied"),
        ("/system.slice/delegated.service/system.slice/fwd.service", "refused: denied"),
        ("/fwd.service.slice/mine", "refused: denied"),
        ("/system.slice/fwd.service (deleted)", "refused: denied"),
    ],
)
def test_names_that_users_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, said: str
) -> None:
    """``systemd-run --user --unit=fwd.service``, and subtrees that were delegated."""
    monkeypatch.setattr(identify, "_PROC", proc_with(tmp_path, os.getpid(), cgroup))
    with connected() as (_, theirs), identified(theirs) as who:
        assert decision(FWD, who) == said


def test_names_that_users_choose_without_a_pidfd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.5: nothing is known of where a peer runs, and no limit of it is raised."""
    proc = proc_with(tmp_path, os.getpid(), "/system.slice/fwd.service")
    monkeypatch.setattr(identify, "_PROC", proc)
    monkeypatch.setattr(identify, "SO_PEERPIDFD", 9999)
    with connected() as (_, theirs), identified(theirs) as who:
        assert who.peer.uid == os.geteuid()
        assert (who.peer.unit, who.peer.cgroup, who.started) == (None, None, 0)
        assert who.memlock() is None
        assert decision(FWD, who) == "refused: denied"


# --- processes that are gone --------------------------------------------------------------------


def test_pid_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connected, ended, reaped; then its pid is given to a process of the rule's own unit."""
    with connected_by_one_that_is_gone() as (pid, theirs):
        proc = proc_with(tmp_path, pid, "/system.slice/fwd.service")
        monkeypatch.setattr(identify, "_PROC", proc)
        monkeypatch.setattr(identify, "start_time", lambda _: 777)
        with identified(theirs) as who:
            assert who.peer.pid == pid
            assert not who.peer.verified
            assert decision(FWD, who) == "refused: denied"
            assert who.memlock() is None, "the limits of another would be raised"


def test_pid_is_reused_after_its_process_was_looked_up() -> None:
    """What is asked of /proc later, counts only if the process of then is still alive."""
    with connected() as (_, theirs), identified(theirs) as who:
        assert who.memlock() is not None
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            os.close(who.pidfd)
            who.pidfd = os.pidfd_open(ended.pid)
        # Under the pid there is a process, and it is another one.
        assert who.memlock() is None


# --- identities that are not found ---------------------------------------------------------------


def test_identity_is_not_found() -> None:
    """Whoever cannot be placed is nobody's exception: what allows does not hold, what denies
    does. Otherwise one of evil.service passes its connection on and ends."""
    with connected_by_one_that_is_gone() as (_, theirs), identified(theirs) as who:
        assert decision(FWD, who) == "refused: denied"
        assert decision(NOT_EVIL, who) == "refused: denied"
        assert says(NOT_EVIL, ALICE, "01:00.0") == "allowed by anyone"


@pytest.mark.parametrize("option", ["SO_PEERGROUPS", "SO_PEERSEC"])
def test_identity_is_not_found_in_its_credentials(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """A group or label that is not had may be one that is denied: such a peer is not served."""
    asked = getattr(identify, option)

    def fails(descriptor: int, name: int, size: int) -> bytes:
        if name == asked:
            raise OSError(12, "no memory")
        return socket_option(descriptor, name, size)

    monkeypatch.setattr(identify, "socket_option", fails)
    with connected() as (_, theirs):
        before = open_fds()
        with pytest.raises(OSError, match="no memory"):
            identify.identify(theirs)
        assert open_fds() == before


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_identity_is_not_found_since_it_hung_up_in_the_middle(stage: Stage, method: str) -> None:
    """Asked and gone at once, many times, every method: nothing is left of it."""
    params: dict[str, dict[str, Any]] = {
        "hello": {"client": "x", "protocol": 1},
        "lease.acquire": {"devices": [{"address": f"pci:{stage.machine.device('single')}"}]},
        "lease.open": {"lease": "L1", "secret": "x"},
        "lease.release": {"lease": "L1", "secret": "x"},
        "lease.get": {"lease": "L1"},
    }
    for _ in range(10):
        with stage.line() as line, suppress(BrokenPipeError):
            line.call(method, **params.get(method, {}))
            line.call(method, 2, **params.get(method, {}))


# --- acting as somebody else ---------------------------------------------------------------------


@pytest.mark.slow
def test_passed_on_connection_acts_as_its_opener(stage: Stage, borrower: Start) -> None:
    """The same user, even the very connection: without the lease's secret nothing is done to it."""
    client, same_user = borrower(), borrower()
    for one in (client, same_user):
        one.connect(stage)
    lease = client.do("acquire", devices=[stage.machine.device("single")])
    for asker in (client, same_user):
        for method in ("lease.release", "lease.open"):
            for secret in ("guessed", lease["secret"] + "x", lease["secret"][:-1], "\u00e9"):
                own = {"lease": lease["id"], "secret": secret}
                with pytest.raises(Refused) as refused:
                    asker.do("call", method=method, params=own)
                assert refused.value.reason is Reason.not_yours
    assert stage.group_state(stage.machine.device("single")) == "leased"


@pytest.mark.slow
def test_passed_on_connection_acts_as_its_opener_not_by_the_hold(stage: Stage) -> None:
    """Whatever is written into the hold, it keeps the lease and does nothing else."""
    device = stage.machine.device("single")
    with stage.control.acquire([device]) as lease:
        release = {"jsonrpc": "2.0", "id": 1, "method": "lease.release", "params": {}}
        for data in (b"\0", json.dumps(release).encode(), b"x" * 100_000):
            os.set_blocking(lease.files.hold, False)
            with suppress(BlockingIOError):
                os.write(lease.files.hold, data)
        assert stage.group_state(device) == "leased"


def test_passed_on_connection_acts_as_its_opener_not_from_a_command() -> None:
    """A command that is executed with a lease's files gets these, and no socket."""
    become = (
        "import os, socket, sys\n"
        "from isod.cli.inherit import keep_only\n"
        "kept, dropped = os.pipe()\n"
        "os.set_inheritable(dropped, True)\n"
        "both = socket.socketpair()\n"
        "both[0].set_inheritable(True)\n"
        "keep_only({kept})\n"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])\n"
    )
    tell = (
        "import json, os\n"
        "fds = os.listdir('/proc/self/fd')\n"
        "found = {name: f'/proc/self/fd/{name}' for name in fds}\n"
        "print(json.dumps([os.readlink(p) for n, p in found.items() if os.path.exists(p)]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", become, tell],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    found = json.loads(ran.stdout)
    assert [one.partition(":")[0] for one in found if ":" in one] == ["pipe", "pipe"], found
