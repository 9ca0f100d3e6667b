"""A daemon on a simulated machine with a network card for every test."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from isod.cli.demo.stage import Stage, raised
from isod.cli.isoctl import isoctl
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import E1000E, NVME, ROOT_PORT
from isod.kernel.simulated.topology import Place, SimulatedHost

CARDS = 40
_CARDS = [
    place
    for card in range(1, CARDS + 1)
    for place in (
        Place(f"00:{card // 8:02x}.{card % 8}", ROOT_PORT, group=card, below=f"{card:02x}"),
        Place(f"{card:02x}:00.0", E1000E, group=100 + card),
        Place(f"{card:02x}:00.1", E1000E, group=100 + card),
    )
]
_DISK = (Place("00:1f.0", ROOT_PORT, group=200, below="f0"), Place("f0:00.0", NVME, group=201))
_MACHINE = SimulatedHost(
    about="Forty network cards of two functions, and an NVMe disk that no rule allows.",
    places=(*_CARDS, *_DISK),
)
DISK = "f0:00.0"
_POOL = """
[[pool]]
name = "last"
devices = [{ address = "pci:0000:28:00.*" }]
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Cards:
    """The daemon's socket, and cards that no test has touched yet. The last one, 28:00, is a pool
    called ``last``."""

    stage: Stage
    unused: Iterator[int]

    def next_card(self) -> str:
        """A fresh card: ``01:00`` has the functions 01:00.0 and 01:00.1."""
        return f"{next(self.unused):02x}:00"

    def command(self, *arguments: str) -> list[str]:
        socket = ("--socket", str(self.stage.socket))
        return [sys.executable, "-m", "isod.cli.isoctl", *socket, *arguments]

    def run(self, *arguments: str, **variables: str) -> Ran:
        """Run ``isoctl`` to its end, within this process: it takes a tenth of the time."""
        out, errors = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(out),
            redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            for name, value in variables.items():
                patch.setenv(name, value)
            isoctl(["--socket", str(self.stage.socket), *arguments], prog_name="isoctl")
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, out.getvalue(), errors.getvalue())

    def spawn(self, *arguments: str, **variables: str) -> Ran:
        """The same in a process of its own, which ``exec`` needs."""
        ran = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **variables},
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="module")
def cards() -> Iterator[Cards]:
    """One daemon for the tests of a file."""

    def furnish(machine: Path) -> None:
        build(machine, _MACHINE)

    with raised((os.geteuid(), os.geteuid()), furnish, _POOL) as stage:
        yield Cards(stage, iter(range(1, CARDS)))
