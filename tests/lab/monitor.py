"""QEMU's monitor: what a guest's processors do, when nobody else can tell any more."""

import contextlib
import socket
import time
from pathlib import Path

_COMMANDS = ("info status", "info cpus", "info registers -a", "info lapic 0", "info lapic 1")
_ANSWER_SECONDS = 5.0
_TELLING = ("VM status", "* CPU", "  CPU", "CPU#", "RIP=", "LVTT", "TIMER", "ISR", "IRR")


def arguments(path: Path) -> list[str]:
    """QEMU's arguments for a monitor at a socket."""
    chardev = f"socket,id=labmonitor,path={path},server=on,wait=off"
    return ["-chardev", chardev, "-mon", "chardev=labmonitor,mode=readline"]


def processors(path: Path) -> str:
    """Where each processor is, whether it is halted, and its timer; empty if QEMU does not say."""
    said = ""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(_ANSWER_SECONDS)
        monitor.connect(str(path))
        for command in _COMMANDS:
            monitor.sendall(f"{command}\n".encode())
        deadline = time.monotonic() + _ANSWER_SECONDS
        # It echoes what it reads, so the last command's prompt is not to be told from others.
        while time.monotonic() < deadline:
            chunk = monitor.recv(65536)
            if not chunk:
                break
            said += chunk.decode(errors="replace")
    lines = (line.strip("\r") for line in said.splitlines())
    return "\n".join(line for line in lines if line.startswith(_TELLING))
