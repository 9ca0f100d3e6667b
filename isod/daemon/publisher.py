"""The one place that tells what has happened: to the log, and to whoever subscribed."""

from __future__ import annotations

import time
from collections.abc import Callable

from isod.model.host import Device
from isod.model.lease import Lease
from isod.model.notice import KINDS, Notice
from isod.model.request import PACKET_BYTES
from isod.model.reset import LeaseReset

from .journal import Journal
from .ring import Published, Ring
from .subscription import Subscription, encode

_ENVELOPE = 512  # what stands around an event in its packet


class Publisher:
    """Numbers events, keeps the latest, and offers each to all ``subscriptions``. Nothing here
    waits for anybody. ``latest`` is the number before the first event's."""

    def __init__(
        self, journal: Journal, latest: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self._journal = journal
        self._clock = clock
        self.ring = Ring(latest)
        self.subscriptions: list[Subscription] = []

    def lease(
        self, kind: str, lease: Lease, note: str | None = None, reset: LeaseReset | None = None
    ) -> None:
        """Tell what happened to a lease; ``kind`` is one of KINDS."""
        sentence = KINDS[kind].sentence.format(lease=lease.id)
        owner = lease.owner
        fields: dict[str, str | int] = {
            "lease": lease.id,
            "uid": owner.uid,
            "pid": owner.pid,
            "unit": owner.unit or "",
            "cgroup": owner.cgroup or "",
            "rule": lease.rule,
            "hand_over": lease.hand_over,
            "devices": " ".join(str(device.address) for device in lease.devices),
        }
        self._journal.record(
            kind,
            f"{sentence}: {note}" if note else sentence,
            **{name: value for name, value in fields.items() if value != ""},
        )
        notice = Notice(
            seq=self._next,
            kind=kind,
            at=self._clock(),
            lease=lease.id,
            uid=lease.owner.uid,
            devices=tuple(device.address for device in lease.devices),
            open=lease.open,
            deadline=lease.leaving if lease.revocation is None else lease.revocation.deadline,
            note=note,
            reset=reset,
        )
        self._publish(notice, lease.owner.uid)

    def device(self, kind: str, device: Device, state: str | None) -> None:
        """Tell how a device is now, or was when it went (``state`` None)."""
        notice = Notice(
            seq=self._next,
            kind=kind,
            at=self._clock(),
            device=device.address,
            generation=device.generation,
            driver=device.driver,
            group=device.group,
            state=state,
        )
        self._publish(notice, None)

    def policy_reloaded(self, number: int) -> None:
        """Tell that another policy holds; what it says is nobody's business but an admin's."""
        kind = "policy.reloaded"
        self._publish(Notice(seq=self._next, kind=kind, at=self._clock(), policy=number), None)

    @property
    def _next(self) -> int:
        return self.ring.latest + 1

    def _publish(self, notice: Notice, owner: int | None) -> None:
        body = encode(notice)
        if len(body) > PACKET_BYTES - _ENVELOPE:
            body = encode(notice.model_copy(update={"reset": None}))
        event = Published(notice.seq, notice.family, owner, body)
        self.ring.add(event)
        for subscription in self.subscriptions:
            subscription.offer(event)
