"""The stage: a folder that goes away again, and the daemon that runs in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from isod.client.blocking import Client
from isod.client.errors import ConnectionLost

START_SECONDS = 20.0
STOP_SECONDS = 5.0
COMMAND_SECONDS = 30.0

_POLICY = """\
version = 1

[[rule]]
name = "demo-network-cards"
effect = "allow"
who = [{{ uid = {uids} }}]
what = [{{ vendor = "8086", class = "0200" }}]
[rule.terms]
take_from = ["e1000e"]
"""


class StageError(Exception):
    """The demo cannot be shown."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the daemon listens, and whom the two borrowing programs belong to."""

    folder: Path
    socket: Path
    uid: int
    other_uid: int


@contextmanager
def raised(
    uids: tuple[int, int], furnish: Callable[[Path], None] | None = None, policy: str = ""
) -> Iterator[Stage]:
    """Start the daemon for programs of two users; end it and tidy up afterwards.

    ``furnish`` puts a simulated machine into a folder; else the daemon makes one of its own.
    ``policy`` is TOML that goes behind the stage's own.
    """
    folder = Path(tempfile.mkdtemp(prefix="isod-demo-"))
    folder.chmod(0o755)  # programs of another uid reach the socket in it
    try:
        rules = folder / "policy"
        rules.mkdir()
        (rules / "demo.toml").write_text(_POLICY.format(uids=list(uids)) + policy)
        if furnish is not None:
            furnish(folder / "machine")
        stage = Stage(folder, folder / "isod.sock", *uids)
        with _daemon(stage, rules):
            _survey(stage)
            yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _daemon(stage: Stage, policy: Path) -> Iterator[None]:
    log = stage.folder / "isod.log"
    command = [sys.executable, "-m", "isod.cli.isod", "serve"]
    command += ["--simulate", str(stage.folder / "machine"), "--socket", str(stage.socket)]
    command += ["--policy", str(policy), "--state", str(stage.folder / "state")]
    with log.open("wb") as out:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _await_daemon(daemon, stage.socket, log)
        yield
    finally:
        end(daemon)


def _survey(stage: Stage) -> None:
    """Read config space of the machine, as root has to on a real one."""
    command = [sys.executable, "-m", "isod.cli.isod", "survey"]
    command += ["--simulate", str(stage.folder / "machine")]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=COMMAND_SECONDS
    )
    if ran.returncode != 0:
        raise StageError(f"the survey failed: {ran.stderr.decode(errors='replace')[-2000:]}")


def _await_daemon(daemon: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    def answers() -> bool:
        if daemon.poll() is not None:
            raise StageError(f"the daemon ended: {log.read_text(errors='replace')[-2000:]}")
        with suppress(ConnectionLost), Client.connect(socket):
            return True
        return False

    if not until(answers, START_SECONDS):
        raise StageError(f"the daemon does not answer after {START_SECONDS:.0f} seconds")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Look until it is true; False if it is not by then."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def borrowers() -> tuple[int, int]:
    """Whom programs without privileges belong to: for root to two nobodies, else to oneself."""
    own = os.geteuid()
    return (65534, 65533) if own == 0 else (own, own)
