"""A refusal in at most five lines: the reason, what blocks, who can fix it and how."""

from __future__ import annotations

import errno
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from isod.model.address import Address, BadAddressError
from isod.model.reason import Reason

from .terminal import WIDTH, escape
from .words import age

_INDENT = "  "


def refusal_screen(
    message: str, data: Mapping[str, Any], now: float, *, note: str = "", width: int = WIDTH
) -> RenderableType:
    """Tell a refusal. ``data`` is the error's, as the daemon sent it: any member may lack. With a
    ``note`` beside the reason, the message stands below."""
    reason = str(data.get("reason", "refused"))
    blocks = "; ".join(_blocking(message, data, now))
    if note:
        lines = [f"Refused: {escape(reason)}.  {note}"[:width]]
        lines += _wrap(escape(message), width, most=2, indent=_INDENT)
    else:
        text = f"Refused: {escape(reason)}.  {escape(message)}"
        lines = _wrap(text, width, most=2 if blocks else 3)
    if blocks and len(lines) < 3:
        lines += _wrap(blocks, width, most=3 - len(lines), indent=_INDENT)
    lines += _wrap(_remedy(reason, data), width, most=2, indent=_INDENT)
    head = Text(lines[0])
    head.stylize("bold red", 0, len("Refused:"))
    return Stack(head, *(Text(line) for line in lines[1:]))


def _wrap(text: str, width: int, *, most: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=_INDENT,
        max_lines=most,
        placeholder=" …",
        break_long_words=True,
    ) or [indent]


def _blocking(message: str, data: Mapping[str, Any], now: float) -> Sequence[str]:
    """What isod says about the obstacle beyond its message, in the order in which people ask."""
    names = [_short(name) for name in data.get("devices") or ()]
    words = [", ".join(names)] if not all(name in message for name in names) else []
    holder = data.get("holder")
    if isinstance(holder, Mapping):
        words.append(_holder(holder, now))
    if data.get("step") is not None:
        words.append(f"failed at {_plain(data['step'])}")
    if data.get("errno") is not None:
        number = data["errno"]
        words.append(errno.errorcode.get(number, "") if isinstance(number, int) else _plain(number))
    if data.get("undone"):
        words.append(f"undone: {_plain(data['undone'])}")
    if data.get("problems"):
        words.append(_problems(data["problems"]))
    for member in ("rule", "term"):
        if data.get(member) is not None:
            words.append(f"{member} {escape(data[member])}")
    return [word for word in words if word]


def _problems(problems: object) -> str:
    """The first fault of a policy, and how many more there are."""
    found = [escape(one) for one in problems] if isinstance(problems, list | tuple) else []
    more = f"; and {len(found) - 1} more" if found[1:] else ""
    return f"{found[0]}{more}" if found else ""


def _short(name: object) -> str:
    try:
        return escape(Address.parse(str(name)).short)
    except BadAddressError:
        return escape(name)


def _holder(holder: Mapping[str, Any], now: float) -> str:
    who = "you" if holder.get("yours") else escape(holder.get("user") or "somebody else")
    words = [f"held by {who}"]
    if holder.get("lease") is not None:
        words.append(f"as {escape(holder['lease'])}")
    if isinstance(holder.get("since"), int | float):
        words.append(f"for {age(holder['since'], now)}")
    return " ".join(words)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(escape(part) for part in value.values() if part is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value)
    return escape(value)


def _remedy(reason: str, data: Mapping[str, Any]) -> str:
    known = Reason.__members__.get(reason)
    hint = data.get("hint") or (known.hint if known else "ask who runs isod")
    fixed_by = data.get("fixed_by") or (known.fixed_by if known else "an administrator")
    text = escape(hint)
    if not text.startswith("iso"):  # isoctl, isod: names stay as they are
        text = text[:1].upper() + text[1:]
    return f"Who can fix it: {escape(fixed_by)}.  {text}"
