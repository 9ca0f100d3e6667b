"""A client in the namespace: ``holder.py UID``, then a request a line on stdin, an answer a line.

Python expressions are not taken; each line is JSON: ``{"do": …, …}``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[2])

from isod.client.blocking import Client, Events, Lease  # noqa: E402
from isod.client.errors import ConnectionLost, EventsLost, Refused  # noqa: E402
from isod.model.step import HandOver  # noqa: E402
from tests.walk.device_acts import acts_on  # noqa: E402

SOCKET = "/run/isod/isod.sock"
# A guest is emulated, and another one may run beside it.
PATIENCE = 300.0


class Holder:
    """What it can do, by name."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.leases: dict[str, Lease] = {}
        self.kept: list[int] = []
        self.opened: dict[str, int] = {}
        self.events: Events | None = None

    def connect(self, socket: str = SOCKET, reconnect: float = 0.0) -> None:
        self.client = Client.connect(socket, timeout=PATIENCE, reconnect=reconnect)

    def call(self, method: str, **params: object) -> object:
        assert self.client is not None
        return self.client.call(method, params)

    def acquire(self, device: str, hand_over: HandOver = "iommufd", **wishes: Any) -> str:
        assert self.client is not None
        lease = self.client.acquire([device], hand_over=hand_over, **wishes)
        # The first stays: with a lease object its fds would be closed.
        self.leases.setdefault(device, lease)
        return lease.id

    def use(self, device: str, what: str) -> object:
        return acts_on("linux", Path("/"), self.leases[device].files, self.opened).run(what)

    def close(self, device: str) -> None:
        self.leases.pop(device).close()

    def keep(self, device: str) -> None:
        """Have another copy of the device's fd, of which nobody knows but the kernel."""
        self.kept.append(os.dup(self.leases[device].files.device(f"pci:{device}")))

    def let_go(self) -> None:
        while self.kept:
            os.close(self.kept.pop())

    def close_opened(self) -> None:
        """Close what was opened by path."""
        while self.opened:
            os.close(self.opened.popitem()[1])

    def ignore_sigterm(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def hold(self, device: str) -> str:
        """The pipe of a lease's hold, as links in ``/proc/PID/fd`` name it."""
        return str(Path(f"/proc/self/fd/{self.leases[device].files.hold}").readlink())

    def listed(self) -> list[str]:
        assert self.client is not None
        return [lease.id for lease in self.client.leases()]

    def isolation(self, device: str) -> object:
        assert self.client is not None
        return self.client.isolation(device).model_dump(mode="json")

    def follow(self) -> None:
        """Subscribe to leases' events."""
        assert self.client is not None
        self.events = self.client.events(["lease"])

    def until(self, kind: str, lease: str) -> None:
        """Take events up to this one."""
        assert self.events is not None
        for event in self.events:
            if (event.kind, event.lease) == (kind, lease):
                return

    def missed(self) -> str:
        """Over a new connection: the first thing that happened since the latest event."""
        assert self.client is not None
        assert self.events is not None
        self.events = self.client.events(["lease"], self.events.seq)
        try:
            return next(self.events).kind
        except EventsLost as error:
            return "gone" if error.gone else "gap"

    def memlock(self) -> str:
        lines = Path("/proc/self/limits").read_text().splitlines()
        return next(line for line in lines if line.startswith("Max locked memory"))


def main() -> None:
    uid = int(sys.argv[1])
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    holder = Holder()
    print(json.dumps({"result": os.getpid()}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        answer: dict[str, object]
        try:
            answer = {"result": getattr(holder, wanted.pop("do"))(**wanted)}
        except Refused as error:
            answer = {"refused": error.data["reason"]}
        except TimeoutError as error:
            answer = {"late": str(error)}
        except (ConnectionLost, OSError) as error:
            answer = {"lost": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
