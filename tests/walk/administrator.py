"""An administrator at the admin socket, for walks that take leases back."""

from __future__ import annotations

from typing import Any, cast

from isod.client.blocking import Client
from isod.client.errors import Refused
from isod.model.reason import Reason

from .daemon import PATIENCE
from .stage import Stage


def admins(stage: Stage) -> Client:
    return Client.connect(
        stage.socket.parent / "admin" / "admin.sock", timeout=PATIENCE, reconnect=0
    )


def revoke(stage: Stage, lease: str, **how: object) -> dict[str, Any]:
    """Take a lease back; what isod says about it."""
    with admins(stage) as admin:
        return cast(dict[str, Any], admin.call("admin.revoke", {"lease": lease, **how}))


def look(stage: Stage, lease: str) -> dict[str, Any] | None:
    """A lease as an administrator sees it; None when it is over."""
    with admins(stage) as admin:
        try:
            answer = cast(dict[str, Any], admin.call("lease.get", {"lease": lease}))
        except Refused as error:
            assert error.reason is Reason.not_found
            return None
    return cast(dict[str, Any], answer["lease"])


def until_over(stage: Stage, lease: str) -> None:
    stage.daemon.until(lambda: look(stage, lease) is None, f"{lease} is not over")
