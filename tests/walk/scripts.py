"""What clients do from connecting to the end, as acts of ``borrower_process``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .borrowers import where
from .stage import Stage

Script = Sequence[Mapping[str, object]]


def scripts(stage: Stage) -> dict[str, Script]:
    """By name: each acquires the pair's group and leaves nothing behind when it is done."""
    connect: Mapping[str, object] = {"act": "connect", **where(stage)}
    pair = stage.machine.device("pair")

    def acquire(hand_over: str, **wishes: object) -> Mapping[str, object]:
        return {"act": "acquire", "devices": [pair], "hand_over": hand_over, **wishes}

    use = [{"act": "use", "what": what} for what in ("bind", "attach")]
    return {
        "iommufd": [connect, acquire("iommufd"), *use, {"act": "release"}],
        "reopened": [connect, acquire("iommufd", key="vm"), use[0], {"act": "open"}, *use],
        "group": [
            connect,
            acquire("group", container="raw"),
            {"act": "use", "what": "viable"},
            {"act": "close"},
        ],
        "nodes": [
            connect,
            acquire("nodes"),
            {"act": "use", "what": "open_by_path"},
            {"act": "release_only"},
            {"act": "close_taken"},
            {"act": "close"},
        ],
    }
