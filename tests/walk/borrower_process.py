"""The far side of client processes: forked per client, each of another uid, doing acts as told.

Run as ``python borrower_process.py`` with a SOCK_SEQPACKET socket as stdin. A packet with a socket
is a wish for another client that takes its acts from that socket.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

# Python puts the script's own folder first; the project is two above it.
_HOME = Path(__file__).parents[2]
sys.path[0] = str(_HOME)

from isod.client.blocking import Client, Lease  # noqa: E402
from isod.client.errors import ConnectionLost, Refused  # noqa: E402
from isod.kernel.simulated import cgroups  # noqa: E402
from tests.walk.device_acts import acts_on  # noqa: E402

# A system call is all or nothing. On the simulated kernel it is Python, but none of the client's.
_CALLS = str(_HOME / "isod" / "kernel")


class BorrowerProcess:
    """The acts by name. Each takes its arguments; OSError, Refused and ConnectionLost are told."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.leases: dict[str, Lease] = {}
        self.opened: dict[str, int] = {}
        self.subscriptions: dict[str, object] = {}
        self.machine: tuple[str, Path] = ("", Path())

    def connect(self, socket: str, kind: str, root: str, reconnect: float = 0.0) -> None:
        """Walks look at each loss themselves, unless they ask for a client that goes on."""
        self.machine = (kind, Path(root))
        self.client = Client.connect(socket, reconnect=reconnect)

    def disconnect(self) -> None:
        self._client.close()
        self.client = None

    def call(self, method: str, params: dict[str, object]) -> object:
        return self._client.call(method, params)

    def subscribe(self, name: str, **params: object) -> None:
        """Subscribe to events."""
        answer = self._client.call("events.subscribe", params)
        assert isinstance(answer, dict)
        self.subscriptions[name] = answer["subscription"]

    def events(self, name: str, until: str) -> list[dict[str, object]]:
        """The events of a subscription up to one of this kind."""
        found: list[dict[str, object]] = []
        while not found or found[-1]["kind"] != until:
            event = dict(self._client.next_event())
            if event["subscription"] == self.subscriptions[name]:
                found.append(event)
        return found

    def ask(self, devices: list[str], **wishes: Any) -> None:
        """Send an acquire and leave its answer unread."""
        wanted = [{"address": f"pci:{device}"} for device in devices]
        params = {"devices": wanted, **wishes}
        call = {"jsonrpc": "2.0", "id": "unread", "method": "lease.acquire", "params": params}
        self._client._connection.socket.send(json.dumps(call).encode())

    def await_answer(self) -> None:
        """Wait until an answer lies in the socket, and leave it there."""
        poll = select.poll()
        poll.register(self._client._connection.socket, select.POLLIN)
        assert poll.poll(60_000), "no answer came"

    def acquire(self, devices: list[str], name: str = "it", **wishes: Any) -> dict[str, Any]:
        lease = self._client.acquire(devices, **wishes)
        self.leases[name] = lease
        return self._told(lease)

    def open(self, name: str = "it") -> dict[str, Any]:
        lease = self.leases[name]
        lease.open()
        return self._told(lease)

    def open_by_secret(self, lease: str, secret: str, name: str = "it") -> dict[str, Any]:
        """As a program that was started anew does; the one before may have files open."""
        self.leases[name] = self._client.open(lease, secret)
        return self._told(self.leases[name])

    def release(self, name: str = "it") -> str:
        return self.leases[name].release().state

    def release_only(self, name: str = "it") -> str:
        """Release without closing a file."""
        lease = self.leases[name]
        return self._client.release(lease.id, lease.secret).state

    def take(self, role: Any, which: str | int | None = None, name: str = "it") -> None:
        """Take a file out of its lease: it stays open whatever happens to that."""
        self.opened[f"{role} {which}"] = self.leases[name].files.take(role, which)

    def close_taken(self) -> None:
        while self.opened:
            os.close(self.opened.popitem()[1])

    def close(self, name: str = "it") -> None:
        self.leases.pop(name).close()

    def use(self, what: str, name: str = "it") -> object:
        """An act on a lease's devices: see ``device_acts``."""
        return acts_on(*self.machine, self.leases[name].files, self.opened).run(what)

    def ignore_sigterm(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def note_sigterm(self, path: str) -> None:
        """Write a file when told to end, as a program closes its disks, and end."""

        def end(*_: object) -> None:
            Path(path).write_text("closed")
            os._exit(0)

        signal.signal(signal.SIGTERM, end)

    def enter_cgroup(self, path: str) -> None:
        """On a simulated host; on a real one somebody with the right to it moves us."""
        cgroups.enter_cgroup(self.machine[1], path)

    def leave_a_child(self) -> int:
        """Fork a child that has all that we have open, and does nothing."""
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        return pid

    def files(self) -> list[str]:
        """What this process has open beside the standard files: its whole fd table."""
        table = Path("/proc/self/fd")
        found = []
        for place in table.iterdir():
            target = str(place.readlink()) if place.is_symlink() else ""
            if int(place.name) > 2 and not target.startswith(("/proc", "socket:")) and target:
                found.append(target)
        return sorted(found)

    def memlock(self) -> str:
        lines = Path("/proc/self/limits").read_text().splitlines()
        return next(line for line in lines if line.startswith("Max locked memory"))

    def perform(self, script: list[dict[str, Any]], die_at: int) -> int:
        """Run acts line by line, and die by SIGKILL at the given line."""
        lines = 0

        def count(_: FrameType, event: str, __: object) -> Any:
            nonlocal lines
            if event == "line":
                lines += 1
                if lines == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count

        def enter(frame: FrameType, _: str, __: object) -> Any:
            return None if _in_system_call(frame) else count

        sys.settrace(enter)
        try:
            for step in script:
                self.run(step)
        finally:
            sys.settrace(None)
        return lines

    def run(self, request: dict[str, Any]) -> object:
        act: Callable[..., object] = getattr(self, request["act"])
        return act(**{name: value for name, value in request.items() if name != "act"})

    @property
    def _client(self) -> Client:
        assert self.client is not None, "not connected"
        return self.client

    @staticmethod
    def _told(lease: Lease) -> dict[str, Any]:
        return {
            **lease.info.model_dump(mode="json"),
            "secret": lease._secret,
            "warnings": list(lease.warnings),
            "roles": [role.model_dump(mode="json", exclude_none=True) for role, _ in lease.files],
        }


def _in_system_call(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_CALLS):
            return True
        frame = frame.f_back
    return False


def serve(line: socket.socket) -> None:
    """Do acts until nobody is at the other end any more."""
    client = BorrowerProcess()
    while data := line.recv(1 << 20):
        answer: dict[str, object]
        try:
            answer = {"result": client.run(json.loads(data))}
        except Refused as error:
            told = {"code": error.code, "message": error.message, "data": dict(error.data)}
            answer = {"refused": told}
        except ConnectionLost as error:
            answer = {"lost": str(error)}
        except OSError as error:
            answer = {"errno": error.errno}
        line.send(json.dumps(answer).encode())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are reaped by the kernel
    with socket.socket(fileno=0) as wishes:
        while True:
            data, received, _, _ = socket.recv_fds(wishes, 65536, 1)
            if not data:
                return
            uid = json.loads(data)["uid"]
            pid = os.fork()
            if pid == 0:
                wishes.close()
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                with socket.socket(fileno=received[0]) as line:
                    serve(line)
                os._exit(0)
            os.close(received[0])
            wishes.send(json.dumps(pid).encode())


if __name__ == "__main__":
    main()
