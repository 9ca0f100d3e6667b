"""A program that borrows a device through ``isoctl exec`` and is looked at from outside."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isod.model.address import Address

from .stage import COMMAND_SECONDS, Stage, StageError, end

# Says which files it was given, then stays until its stdin closes. It starts nothing else, which
# would open files of its own while it starts.
PROGRAM = 'echo "$ISOD_FDS"; read -r _'


@dataclass(frozen=True, slots=True)
class Borrower:
    """A running program. ``files`` is what isod said it handed over: what, and the number."""

    process: subprocess.Popen[bytes]
    files: Mapping[str, int]

    def open_files(self) -> Mapping[int, str]:
        """Its file descriptors beyond stdin, stdout and stderr, as the kernel lists them."""
        table = Path(f"/proc/{self.process.pid}/fd")
        return {
            int(entry.name): str(entry.readlink())
            for entry in sorted(table.iterdir(), key=lambda entry: int(entry.name))
            if int(entry.name) > 2
        }

    def uid(self) -> int:
        """Whom the kernel takes it for."""
        return Path(f"/proc/{self.process.pid}").stat().st_uid

    def finish(self) -> None:
        """Let it end by itself, as programs do: it says nothing to isod."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


def isoctl_command(stage: Stage, uid: int, *arguments: str) -> list[str]:
    """``isoctl``, run by an ordinary user."""
    module = "isod.cli.demo.without_privileges"
    socket = ("--socket", str(stage.socket))
    return [sys.executable, "-m", module, str(uid), *socket, *arguments]


@contextmanager
def borrowing(stage: Stage, device: Address) -> Iterator[Borrower]:
    """Start the program with the device, and see that it ends."""
    program = ("--", "sh", "-c", PROGRAM)
    command = isoctl_command(stage, stage.uid, "exec", "-d", device.short, *program)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Borrower(process, _numbers(json.loads(_first_line(process))))
    finally:
        end(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What the program says once it runs."""
    if process.stdout is not None:
        ready, _, _ = select.select([process.stdout], [], [], COMMAND_SECONDS)
        if ready and (said := process.stdout.readline()):
            return said
    raise StageError("the program did not get its device")


def _numbers(roles: Mapping[str, object]) -> Mapping[str, int]:
    """ISOD_FDS, flat: ``iommufd``, ``pci:0000:01:00.0``."""
    flat: dict[str, int] = {}
    for role, number in roles.items():
        if isinstance(number, int):
            flat[role] = number
        elif isinstance(number, dict):
            flat |= {str(name): int(each) for name, each in number.items()}
    return flat
