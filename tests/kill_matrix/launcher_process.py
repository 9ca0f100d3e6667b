"""The far side of a launcher: forks daemons off, each under a filter and with its files in place.

Run as ``python launcher_process.py`` with a SOCK_SEQPACKET socket as stdin. A packet is a daemon to
start: arguments and environment as JSON, and with it the fds [line, standard error, handed...]. The
daemon itself answers on its line: its pid, with the filter's listener.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

# Python puts the script's own folder first; the project is two above it.
sys.path[0] = str(Path(__file__).parents[2])

from isod.cli.isod import main as isod  # noqa: E402
from isod.kernel.linux import kernel as linux  # noqa: E402
from isod.kernel.simulated import build, hosts  # noqa: E402
from isod.kernel.simulated import kernel as simulated  # noqa: E402
from tests.kill_matrix import seccomp  # noqa: E402
from tests.kill_matrix.syscalls import HANDED, program  # noqa: E402

_FIRST = 3
_MOST = 64
_IMPORTED_LATE = (linux, simulated, build, hosts)  # the daemon imports the kernel that it needs


def become(arguments: list[str], environment: dict[str, str], received: list[int]) -> None:
    """Be the daemon, as a service manager starts it (sd_listen_fds(3))."""
    os.setsid()
    line = socket.socket(fileno=os.dup2(received[0], HANDED, inheritable=False))
    aside = [os.dup(descriptor) for descriptor in received[1:]]
    high = max([_FIRST + len(aside), *aside, *received]) + 1
    high_ones = [os.dup2(descriptor, high + place) for place, descriptor in enumerate(aside)]
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(high_ones[0], 2)
    for place, descriptor in enumerate(high_ones[1:]):
        os.dup2(descriptor, _FIRST + place)
    os.closerange(_FIRST + len(high_ones) - 1, high + len(high_ones) + 1)
    os.environ.update(environment)
    if "LISTEN_FDS" in environment:
        os.environ["LISTEN_PID"] = str(os.getpid())
    listener = seccomp.listen(program())
    socket.send_fds(line, [json.dumps(os.getpid()).encode()], [listener])
    line.close()
    os.close(listener)
    gc.unfreeze()
    sys.exit(isod(["serve", *arguments]))


def main() -> None:
    wishes = socket.socket(fileno=os.dup(0))
    gc.freeze()
    while True:
        data, received, _, _ = socket.recv_fds(wishes, 65536, _MOST)
        if not data:
            return
        # Not before: one that was killed at its first call can still be looked at.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        wish = json.loads(data)
        if os.fork() == 0:
            wishes.close()
            become(wish["arguments"], wish["environment"], received)
        for descriptor in received:
            os.close(descriptor)


if __name__ == "__main__":
    main()
