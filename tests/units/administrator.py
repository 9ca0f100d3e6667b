"""An administrator at the admin socket, in the namespace of the guest's systemd."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .client import Client
from .init import READY_SECONDS, Init, write_policy

SOCKET = "/run/isod/admin/admin.sock"


class Administrator:
    """What root asks of isod, and of systemd about isod."""

    def __init__(self, init: Init) -> None:
        self._init = init
        self._client = Client(init, uid=0)
        self.connect()

    def close(self) -> None:
        self._client.kill()

    def connect(self) -> None:
        """Isod, too, is another one after a restart."""
        assert self._client.do("connect", socket=SOCKET) is None

    def call(self, method: str, **params: object) -> Any:
        return self._client.do("call", method=method, **params)

    def revoke(self, lease: str, **how: object) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("admin.revoke", lease=lease, **how)
        assert "lease" in answer, answer
        return answer

    def until(self, lease: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until this holds of a lease, which is how it is then."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            answer = self.call("lease.get", lease=lease)
            assert "lease" in answer, f"{answer}\n{self._init.log()}"
            found: dict[str, Any] = answer["lease"]
            if holds(found):
                return found
            assert time.monotonic() < deadline, f"{found}\n{self._init.log()}"
            time.sleep(0.2)

    def use_policy(self, text: str) -> None:
        """Have isod read this policy, by ``systemctl reload``. That returns before it was read:
        only with Type=notify-reload, from systemd 253 on, it waits."""
        former = self.call("host.info")["policy"]
        write_policy(text)
        self._init.run("systemctl", "reload", "isod.service")
        deadline = time.monotonic() + READY_SECONDS
        while self.call("host.info")["policy"] == former:
            assert time.monotonic() < deadline, self._init.log()
            time.sleep(0.2)
