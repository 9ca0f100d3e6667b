"""What becomes of a lease that an administrator takes back."""

from __future__ import annotations

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from isod.model.reply import LeaseInfo, RevokeResult

from .terminal import escape
from .words import age, short_list, user_name

_PEER = {
    "ending": "Its owner is being ended.",
    "ended": "Its owner was ended; what is open still has been passed on.",
    "failed": "Its owner could not be ended; the log says why.",
}


def revoked_screen(result: RevokeResult, now: float) -> RenderableType:
    """Who was asked and until when, what comes then, and what is held."""
    held = Text(f"  Still held: {short_list(result.held)}.") if result.held else None
    first = Text(progress_words(result.lease, now))
    return first if held is None else Stack(first, held)


def progress_words(lease: LeaseInfo, now: float) -> str:
    """Where it stands, in a line."""
    given, name = lease.revocation, escape(lease.id)
    who = f"{escape(user_name(lease.owner.user, lease.owner.uid))} ({lease.owner.pid})"
    if lease.state == "leased":
        if given is None:
            return f"Lease {name} is leased to {who}."
        then = "its owner is ended" if given.then == "kill" else "it is waited for"
        left = _left(given.deadline, now)
        return f"Lease {name}: {who} is asked to let go within {left}; then {then}."
    words = [f"Lease {name} is {lease.state}."]
    if lease.state == "draining" and given is not None and given.then == "kill":
        if given.peer is not None:
            words.append(_PEER[given.peer])
        elif not given.overdue:
            words.append(f"{who} is ended in {_left(given.deadline, now)} if something is open.")
    return " ".join(words)


def over_screen(lease: str) -> Text:
    return Text(f"Lease {escape(lease)} is over.")


def _left(deadline: float, now: float) -> str:
    return age(now, max(deadline, now))
