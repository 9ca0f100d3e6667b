"""Bringing a guest's devices into use, as an administrator does, and out of it again."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.walk.stage import Stage

PCI = Path("/sys/bus/pci/devices")
_DISK = re.compile(r"nvme\d+n1")


def run(*command: str) -> None:
    """Run a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def interface(stage: Stage, card: str) -> str:
    """The network interface of a card; it may take a moment to come after its driver did."""
    folder = PCI / card / "net"
    stage.daemon.until(lambda: _names(folder) != [], f"{card} has no interface")
    return _names(folder)[0]


def disk(stage: Stage, controller: str) -> str:
    """The block device of the only NVMe controller, likewise. Where the kernel knows several paths
    to a disk, it is no part of the controller's folder."""

    def found() -> list[str]:
        if not (PCI / controller / "nvme").is_dir():
            return []
        names = (path.name for path in Path("/sys/class/block").iterdir())
        return [n for n in names if _DISK.fullmatch(n) and (Path("/dev") / n).is_block_device()]

    stage.daemon.until(lambda: found() != [], f"{controller} has no disk", seconds=30)
    (name,) = found()
    return name


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@contextmanager
def default_route(name: str) -> Iterator[None]:
    """A default route over an interface."""
    run("ip", "link", "set", name, "up")
    run("ip", "address", "add", "192.0.2.2/24", "dev", name)
    try:
        run("ip", "route", "add", "default", "via", "192.0.2.1", "dev", name, "onlink")
        try:
            yield
        finally:
            run("ip", "route", "del", "default", "dev", name)
    finally:
        run("ip", "address", "flush", "dev", name)
        run("ip", "link", "set", name, "down")


@contextmanager
def link(name: str, *kind: str, over: str | None = None) -> Iterator[None]:
    """A virtual network interface."""
    lower = () if over is None else ("link", over)
    run("ip", "link", "add", *lower, "name", name, "type", *kind)
    try:
        yield
    finally:
        run("ip", "link", "del", name)


@contextmanager
def namespace(kind: str, *commands: str) -> Iterator[int]:
    """A process in a namespace of its own (``net``, ``mount``), after it ran shell commands."""
    script = "; ".join(["set -e", *commands, "echo there", "exec cat"])
    process = subprocess.Popen(
        ["unshare", f"--{kind}", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "there\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()
            process.wait(60)
