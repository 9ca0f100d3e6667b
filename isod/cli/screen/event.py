"""An event in words, on one line."""

from __future__ import annotations

from rich.text import Text

from isod.model.notice import KINDS, Notice

from .terminal import escape
from .words import clock, comma_list, short_list

# Of these kinds the devices are worth a word; of the others they are known from before.
_WITH_DEVICES = frozenset({"lease.granted", "lease.ended"})


def event_line(event: Notice, *, whose: bool = False) -> Text:
    """``14:03:22  lease L7 granted: 01:00.0, 01:00.1``; ``whose`` adds the user."""
    at = "--:--:--" if event.at is None else clock(event.at)
    line = Text(f"{at}  {escape(_words(event))}", no_wrap=True, overflow="ignore")
    if event.kind == "lease.revoking" and event.deadline is not None:
        line.append(f", until {clock(event.deadline)}")
    if whose and event.uid is not None:
        line.append(f"  (uid {event.uid})", style="dim")
    return line


def _words(event: Notice) -> str:
    if event.device is not None:
        return _device_words(event)
    if event.policy is not None:
        return f"policy {event.policy} is in use"
    kind = KINDS.get(event.kind)
    said = kind.sentence.format(lease=event.lease) if kind else f"{event.kind} {event.lease or ''}"
    if event.open:
        what: str | None = short_list(event.open)
    elif event.kind in _WITH_DEVICES and event.note is None:
        what = comma_list(event.devices)
    else:
        what = event.note
    return f"{said}: {what}" if what else said


def _device_words(event: Notice) -> str:
    assert event.device is not None
    name = event.device.short
    if event.kind == "device.removed":
        return f"{name} is gone"
    driver = f"on {event.driver}" if event.driver else "without a driver"
    there = "is there, " if event.kind == "device.added" else "is now "
    return f"{name} {there}{driver}: {event.state or 'unknown'}"
