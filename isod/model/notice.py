"""The kinds of events that log and subscribers are told of, one line each.

A kind's family is the word before its dot; subscribers choose by family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """What is said of an event of this kind. ``sentence`` may name the ``{lease}``.

    ``message_id`` is its MESSAGE_ID in the log, for ever; None: only subscribers are told, since
    a healthy system's log is silent. ``priority`` as in syslog(3).
    """

    sentence: str
    message_id: str | None = None
    priority: int = 6


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "lease.granted": Kind("lease {lease} granted", "5f2a9c1de4734a0c8f4b1c6d0a7e3b51"),
        "lease.revoking": Kind(
            "the owner of lease {lease} is asked to let go", "37ee8a9905584d1190128f24fd39ff69", 5
        ),
        "lease.draining": Kind("lease {lease} ends", "c8b1f0a94d5e4b7296e3d2a81f6c0e47"),
        "lease.in_use": Kind(
            "lease {lease} is waited for, its devices are open", "0d7e6b3a2c914f58b1a4e9f7c5d28360"
        ),
        "lease.ended_peer": Kind(
            "whoever had lease {lease} was ended", "eb310e31a1c64621b77e362e656dde14", 5
        ),
        "lease.peer_not_ended": Kind(
            "whoever has lease {lease} could not be ended", "acddfcf83c0c4172a25ea07685945c4c", 4
        ),
        "lease.ended": Kind(
            "lease {lease} is over, its devices are free", "e13c7a5f9b084d62a7f5c0b8d4e61f92"
        ),
        "device.stranded": Kind(
            "lease {lease} could not put everything back", "3a6f1e8c5d7b4092a8c4f0e2b9d71655", 3
        ),
    }
)
