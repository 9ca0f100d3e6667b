"""Short words for durations, device states and lists of devices."""

from __future__ import annotations

import pwd
import time
from collections.abc import Iterable

from isod.model.address import Address
from isod.model.reply import DeviceInfo, GroupInfo, Holder

from .terminal import escape

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def age(since: float, now: float) -> str:
    """How long ago, in one number and one letter: ``2h``."""
    seconds = max(0, int(now - since))
    for size, letter in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{letter}"
    return f"{seconds}s"


def clock(at: float) -> str:
    """A moment of today: ``14:03:22``."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def user_name(name: str | None, uid: int | None) -> str:
    """What a user is called here: isod asks no name service, which may take its time."""
    if name is not None or uid is None:
        return name or "somebody"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def holder_words(holder: Holder | None, now: float) -> str:
    """Lease, user and age, as far as the asker may know them."""
    if holder is None:
        return ""
    known = holder.user is not None or holder.uid is not None
    user = user_name(holder.user, holder.uid) if known else None
    words = [word for word in (holder.lease, user) if word is not None]
    if holder.since is not None:
        words.append(age(holder.since, now))
    return escape(" ".join(words))


def state_words(device: DeviceInfo, group: GroupInfo | None, now: float) -> str:
    """What can be said of a device in a word or three: ``leased L7 alice 2h``."""
    if device.state == "parked":
        holder = device.holder
        whose = None if holder is None else holder.lease or holder.user
        words = "parked" if whose is None else f"parked for {escape(whose)}"
        taken = device.held_outside
        return words if taken is None else f"{words}: on {escape(taken)}"
    if device.state == "no IOMMU":
        return "no IOMMU (UNSAFE)"
    neighbours = () if group is None or device.quarantine is not None else group.quarantined
    if device.state == "quarantined" and neighbours:
        return f"blocked by {short_list(neighbours)} (quarantined)"
    if device.state in ("free", "host"):
        return _not_leased(device, group)
    words = f"{escape(device.state)} {holder_words(device.holder, now)}".rstrip()
    if device.held_outside is not None:
        return f"{words}: on {escape(device.held_outside)}"
    return words if device.waiting is None else f"{words}: {escape(device.waiting)}"


def _not_leased(device: DeviceInfo, group: GroupInfo | None) -> str:
    """What the host does with a device that nobody has, or what keeps it from being had."""
    if device.needed:
        return f"host: {', '.join(map(escape, device.needed))}"
    if group is not None and group.needed:
        return f"blocked by {short_list(group.needed)}"
    others = () if group is None else tuple(a for a in group.blocked_by if a != device.address)
    if device.state == "free" and others:
        return f"blocked by {short_list(others)}"
    if device.held_outside is not None:
        return f"held by {escape(device.held_outside)}"
    if device.ahead_problem is not None:
        return f"{_plainly(device)}: {escape(device.ahead_problem)}"
    return _plainly(device)


def _plainly(device: DeviceInfo) -> str:
    if device.state == "host":
        return "used by the host"
    return "free, bound ahead" if device.ahead else "free"


def short_list(addresses: Iterable[Address]) -> str:
    """``04:01.0, 04:02.0 and 04:03.0``."""
    *most, last = [escape(address.short) for address in addresses] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def comma_list(addresses: Iterable[Address]) -> str:
    """``04:01.0, 04:02.0``."""
    return ", ".join(escape(address.short) for address in addresses)
