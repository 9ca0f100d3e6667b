"""The events that log and subscribers are told of: their kinds, one line each, and their shape.

A kind's family is the word before its dot; subscribers choose by family. (What goes into the ledger
is an event, too: see ``model.event``.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from .request import AddressText
from .reset import LeaseReset

GAP = "gap"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is said of an event of this kind. ``sentence`` may name the ``{lease}``, and then the
    event is for its owner's eyes and an administrator's.

    ``message_id`` is its MESSAGE_ID in the log, for ever; None: only subscribers are told, since
    a healthy system's log is silent. ``priority`` as in syslog(3).
    """

    sentence: str
    message_id: str | None = None
    priority: int = 6


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "lease.granted": Kind("lease {lease} granted", "5f2a9c1de4734a0c8f4b1c6d0a7e3b51"),
        "lease.reopened": Kind("lease {lease} has fresh fds", "7b3de5a0c41f4f8f8d2c96e0b15a7d34"),
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
        "lease.device_gone": Kind(
            "lease {lease} has lost a device", "1f7c26a0d9b84e53a6c1e05f94b8d372", 5
        ),
        "lease.device_joined": Kind(
            "a device was added to a group of lease {lease} and is parked",
            "8e04b6d17f3c4a9d92b5c8a7e6f01d34",
        ),
        "lease.held_outside": Kind(
            "somebody else takes a device of lease {lease}", "c25d9e8f60a74b1fb3d84e1a7c902f56", 4
        ),
        "lease.conflict": Kind(
            "lease {lease} is not isolated any more", "5b90e7c4a2d6481f8e3f06d1b7a94c28", 4
        ),
        "lease.ended": Kind(
            "lease {lease} is over, its devices are free", "e13c7a5f9b084d62a7f5c0b8d4e61f92"
        ),
        "lease.waiting": Kind(
            "lease {lease} waits to be scrubbed", "6c2f84b1e9d74a3f8b05d7c41e96a2f3", 5
        ),
        "device.stranded": Kind(
            "lease {lease} could not put everything back", "3a6f1e8c5d7b4092a8c4f0e2b9d71655", 3
        ),
        "lease.reset_changed": Kind(
            "lease {lease} has another answer to hot resets", "6c0f4e9b2d7a4185b3e6a1c8f5d09274"
        ),
        "device.added": Kind("a device is there"),
        "device.removed": Kind("a device is gone"),
        "device.changed": Kind("a device has another driver, group or state"),
        "policy.reloaded": Kind("another policy is in use"),
    }
)


class Notice(BaseModel):
    """An event as subscribers get it; what is null or empty is left out.

    ``seq`` grows with every event, over restarts of isod, too; numbers in between belong to events
    that this subscriber does not see. ``at`` is in seconds since the epoch.

    ``lease.*``: the ``lease``, its owner's ``uid``, its ``devices``, those that are known to be
    ``open``, the ``deadline`` of one that is being taken back, or of which a device is, and a
    ``note`` in words; ``reset`` is the new answer of lease.reset_changed (left out if it is too
    long for a packet: lease.get has it). ``device.*``: ``device`` with its ``generation``,
    ``driver``, ``group`` and ``state``, as in host.devices. ``policy.reloaded``: the number of the
    ``policy``.

    ``gap`` is the last event of its subscription: what came after ``seq`` was not sent. ``lost``
    says that it cannot be had by subscribing again ``since`` that ``seq``.
    """

    model_config = ConfigDict(frozen=True)

    subscription: str | None = None
    seq: int
    kind: str
    at: float | None = None
    lease: str | None = None
    uid: int | None = None
    devices: tuple[AddressText, ...] = ()
    open: tuple[AddressText, ...] = ()
    deadline: float | None = None
    note: str | None = None
    reset: LeaseReset | None = None
    device: AddressText | None = None
    generation: int | None = None
    driver: str | None = None
    group: int | None = None
    state: str | None = None
    policy: int | None = None
    lost: bool = False

    @property
    def family(self) -> str:
        return self.kind.partition(".")[0]


class Subscribed(BaseModel):
    """The name of the subscription, and the ``seq`` of the latest event so far, seen or not."""

    model_config = ConfigDict(frozen=True)

    subscription: str
    seq: int


class Unsubscribed(BaseModel):
    """That subscription is over: nothing of it comes any more."""

    model_config = ConfigDict(frozen=True)

    subscription: str
